"""The user's own texts: read, checked, encoded, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import Examples
from tlplat.data.guess import LABEL
from tlplat.data.labelsets import Label, LabelReader, cell_name, read_apart
from tlplat.data.opening import Limits
from tlplat.data.records import Record, Wanted, read_records
from tlplat.data.sides import Sides, files_given, given_sides
from tlplat.domain import DataOptions, DomainContext, TargetTask, title_of
from tlplat.errors import DataError, Finding
from tlplat.model import SourceModel
from tlplat.tasks.sets import labels_card
from tlplat_nlp.inputs import TextInputs
from tlplat_nlp.labels import encode_rows
from tlplat_nlp.preprocess import TextPreprocess
from tlplat_nlp.rows import Rows, joined
from tlplat_nlp.split import check_split, split_rows


def read(options: Any, data: DataOptions, context: DomainContext) -> tuple[Rows, Sides | None]:
    """The rows of all files, and the split that the user made, where there is one."""
    parts = [labelled_rows(path, options, data, context) for path in files_given(data)]
    rows = reduce(joined, parts)
    return rows, given_sides(data, [len(part) for part in parts], rows.splits, lambda i: rows.ids[i])


def labelled_rows(path: Path, options: Any, data: DataOptions, context: DomainContext) -> Rows:
    """The rows of a file, each with a text and a label, or a set of labels.

    Raises:
        DataError TL-DATA-EMPTY-TEXT: rows without text, unless ``--empty-text drop``. TL-DATA-LABEL-MISSING,
        TL-DATA-COLUMN (an id twice), and what :func:`read_records` and :class:`LabelReader` raise.
    """
    label = data.target or data.labels_from or LABEL
    rows = _rows(path, options.text, data, options.max_data_mb, context, label)
    empty = [i for i, text in enumerate(rows.texts) if not text.strip()]
    if empty and options.empty_text == "drop":
        context.warn(f"{len(empty)} of {len(rows)} rows of {path.name} have an empty text and are dropped")
        rows = rows.without(set(empty))
    elif empty:
        _refuse_empty(rows, empty, path, "fill them in, or leave them out with --empty-text drop")
    missing = [i for i, label in enumerate(rows.labels) if label is None]
    if missing:
        apart = read_apart([label for label in rows.labels if isinstance(label, str)])
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(rows)} rows have no label",
            where=str(path),
            findings=[Finding("no label", rows.ids[i]) for i in missing],
            fix=f"{apart}, where an empty cell means none of them"
            if apart
            else "complete the labels, or give these rows with --unlabeled",
        )
    return rows


def target(
    options: Any, data: DataOptions, source: SourceModel, context: DomainContext, test_share: float
) -> TargetTask:
    """The user's task: rows encoded for the source, split by clusters."""
    assert data.path is not None
    rows, sides = read(options, data, context)
    task, targets = encode_rows(rows, source.task.labels if source.task else (), context.warn)
    preprocess = TextPreprocess.from_json(source.preprocess)
    inputs, cut = preprocess.encode(rows.texts)
    if cut:
        context.warn(
            f"{cut} of {len(rows)} texts are truncated: they have more than the {preprocess.width} tokens that are read"
        )
    if sides is not None:
        split = check_split(rows, inputs, sides.test, sides.by)
    else:
        strata = task.strata(targets).numpy()
        split = split_rows(rows, inputs, strata, test_share, context.data_seed, task.labels)
    groups = torch.from_numpy(split.groups)
    validation = None if sides is None else sides.validation
    everything = Examples(inputs, targets, list(rows.ids), groups, groups, validation=validation)
    pool, test = (everything.select(torch.from_numpy(np.flatnonzero(side))) for side in (~split.test, split.test))
    card = {
        "file": data.path.name,
        "rows": len(rows),
        **labels_card(task, targets),
        "pool_rows": len(pool),
        "test_rows": len(test),
        "tokens": token_facts(inputs, cut),
        "split": split.report,
    }
    saved = {**source.preprocess, "text_column": options.text, "max_data_mb": options.max_data_mb}
    title = title_of(data.path, task)
    return TargetTask(title, task, pool, test, saved, card, "cluster of near-copies", unlabeled=pool.inputs)


def encode(path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], TextInputs]:
    """Rows of a file without labels, in its order."""
    unlabelled = DataOptions(path)
    rows = _rows(path, preprocess.get("text_column", "text"), unlabelled, preprocess.get("max_data_mb", 1024), context)
    empty = [i for i, text in enumerate(rows.texts) if not text.strip()]
    if empty:
        _refuse_empty(rows, empty, path, "fill them in, or leave these rows out of the file")
    inputs, cut = TextPreprocess.from_json(preprocess).encode(rows.texts)
    if cut:
        context.warn(f"{cut} of {len(rows)} texts are truncated to {inputs.width} tokens")
    return rows.ids, inputs


def token_facts(inputs: TextInputs, cut: int) -> dict[str, int]:
    """Lengths in tokens, special ones included, for the data card."""
    return {
        "limit": inputs.width,
        "median": int(inputs.lengths.median()),
        "longest": int(inputs.lengths.max()),
        "truncated_rows": cut,
    }


def _rows(
    path: Path,
    text: str,
    data: DataOptions,
    max_data_mb: int,
    context: DomainContext,
    label: str | None = None,
) -> Rows:
    """``label``: the column of labels, or several; None reads none."""
    ids: list[str] = []
    texts: list[str] = []
    labels: list[Label] = []
    reader: LabelReader | None = None
    group, split = data.group, data.split
    groups: list[str | None] = []
    splits: list[str | None] = []
    seen: set[str] = set()
    wanted = Wanted(
        [text, *(c for c in (group, split) if c is not None)],
        ["id"],
        Limits(max_data_mb * 1_000_000),
        "--text for texts, --target for labels, --group for groups",
        line_breaks=True,
        warn=context.warn,
        target=label,
    )
    for number, found in enumerate(read_records(path, wanted), 1):
        row, where, record = f"row {number}", found.where, found.values
        name = cell_name(record["id"], "id", where) if "id" in record else None
        if name is not None and name in seen:
            raise DataError(
                "TL-DATA-COLUMN",
                f"the id {name!r} occurs twice",
                where=where,
                fix="give each row its own id",
            )
        seen.add(name or row)
        ids.append(name or row)
        texts.append(_text(record, text, where))
        if label is not None and reader is None:
            reader = LabelReader.of(label, record.keys(), data.label_separator)
        labels.append(reader.read(record, where) if reader else None)
        groups.append(cell_name(record[group], group, where) if group else None)
        splits.append(cell_name(record[split], split, where) if split else None)
    return Rows(ids, texts, labels, groups, splits, reader)


def _text(record: Record, column: str, where: str) -> str:
    value = record[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        code = "TL-DATA-PARQUET" if where.partition(", ")[0].endswith((".parquet", ".pq")) else "TL-DATA-JSONL"
        raise DataError(
            code,
            f"the column {column!r} holds {type(value).__name__} values, and texts are strings",
            where=where,
            found=str(value)[:60],
            expected="a string",
            fix="name the column of texts with --text, or save it as strings",
        )
    return value


def _refuse_empty(rows: Rows, empty: Sequence[int], path: Path, fix: str) -> None:
    raise DataError(
        "TL-DATA-EMPTY-TEXT",
        f"{len(empty)} of {len(rows)} rows have an empty text",
        where=str(path),
        findings=[Finding("empty text", rows.ids[i]) for i in empty],
        fix=fix,
    )
