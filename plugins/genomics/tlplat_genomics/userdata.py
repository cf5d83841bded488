"""The user's own sequences: read, labelled, encoded, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import Examples
from tlplat.data.files import files_of
from tlplat.data.labelsets import Label, LabelReader, read_apart
from tlplat.data.sides import Sides
from tlplat.domain import DataOptions
from tlplat.errors import DataError, UsageError
from tlplat.tasks.base import Task
from tlplat.tasks.sets import labels_card
from tlplat_genomics.alphabet import check_dna
from tlplat_genomics.labels import header_value, lookup, need_labels, reader_of, table_labels, title_label
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.readers import SUFFIXES, format_of, read_records
from tlplat_genomics.sequence import Tokens, tokenize
from tlplat_genomics.similarity import Ints, connected, equal_links
from tlplat_genomics.split import Split, check_split, split_sequences
from tlplat_genomics.strict import Limits
from tlplat_genomics.table import need_column, read_table

TEST_SHARE = 0.5


@dataclass(frozen=True)
class Rows:
    """Sequences of a file in its order; ``labels`` and ``groups`` hold None where a row has none.

    ``reader``: how labels were read; None where nothing says them.
    """

    ids: list[str]
    tokens: list[Tokens]
    labels: list[Label]
    groups: list[str | None]
    splits: list[str | None] = field(default_factory=list)
    reader: LabelReader | None = None


def read_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    """Sequences of a file, a folder or a pattern, with labels and groups where ``data`` says from where."""
    parts = [_file_rows(file, data, sequence, limits) for file in files_of(path, SUFFIXES)]
    rows = reduce(joined, parts)
    separate = _labels_file(data)
    if separate is None:
        return rows
    found, reader = table_labels(separate, data.target, limits, data.label_separator)
    return replace(rows, labels=lookup(found, rows.ids), reader=reader)


def _file_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    if format_of(path, limits) == "table":
        return _table_rows(path, data, sequence, limits)
    records = list(read_records(path, limits))
    key = "label" if data.labels_from == "header" else data.labels_from or data.target
    reader = LabelReader.of(key, (), data.label_separator) if key and _labels_file(data) is None else None
    return Rows(
        ids=[r.id for r in records],
        tokens=[r.tokens() for r in records],
        labels=[title_label(r, reader) if reader else None for r in records],
        groups=[header_value(r, data.group) if data.group else None for r in records],
        splits=[header_value(r, data.split) if data.split else None for r in records],
        reader=reader,
    )


def labelled_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    """As :func:`read_rows`; every row has a label.

    Raises:
        UsageError TL-USAGE: nothing says where labels are. DataError TL-DATA-LABEL-MISSING: rows without.
    """
    if data.labels_from is None and data.target is None and has_titles(path, limits):
        raise UsageError(
            "TL-USAGE",
            f"{path} holds sequences, and nothing says where their labels are",
            fix="add --labels-from header (titles such as '>id label=x') or --labels-from labels.csv (id,label)",
        )
    rows = read_rows(path, data, sequence, limits)
    need_labels(rows.labels, rows.ids, str(_labels_file(data) or path))
    return rows


def has_titles(path: Path, limits: Limits) -> bool:
    """Whether any file there holds records with titles, and no table."""
    return any(file.exists() and format_of(file, limits) != "table" for file in files_of(path, SUFFIXES))


def joined(first: Rows, second: Rows) -> Rows:
    """One after the other."""
    return Rows(
        first.ids + second.ids,
        first.tokens + second.tokens,
        first.labels + second.labels,
        first.groups + second.groups,
        first.splits + second.splits,
        first.reader or second.reader,
    )


def split_rows(
    rows: Rows,
    sides: Sides | None,
    targets: torch.Tensor,
    preprocess: Preprocess,
    data_seed: int,
    share: float = TEST_SHARE,
    names: Sequence[str] = (),
) -> Split:
    """The user's split where there is one (``sides``), else one made here by clusters.

    Args:
        targets: (n,) classes, or (n, c) any number of labels, which ``names`` are of.
        share: of the rows that are held out.

    Raises:
        DataError TL-LEAK-DUP, TL-LEAK-HOMOLOG: the given split leaks. TL-DATA-CLASS-SMALL: too few clusters.
    """
    if sides is not None:
        return check_split(rows.tokens, sides.test, rows.ids, sides.by)
    split = split_sequences(rows.tokens, _groups(rows, preprocess), targets.numpy(), share, data_seed, names)
    for label in np.unique(targets.numpy()).tolist() if targets.ndim == 1 else ():
        inside = split.test[targets.numpy() == label]
        if inside.all() or not inside.any():
            name = rows.labels[int((targets == label).nonzero()[0])]
            raise DataError(
                "TL-DATA-CLASS-SMALL",
                f"class {name!r} has {len(inside)} sample{'' if len(inside) == 1 else 's'} in one cluster of "
                "near-copies; a split into training and test needs at least 2 clusters of each class",
                found=f"{split.report['groups']} clusters among {len(rows.ids)} sequences",
                fix=read_apart([str(label) for label in rows.labels])
                or "add sequences of that class that are not near-copies of each other",
            )
    return split


def as_examples(
    rows: Rows, targets: torch.Tensor, split: Split, preprocess: Preprocess, sides: Sides | None = None
) -> tuple[Examples, Examples]:
    """Pool and test rows."""
    groups = torch.from_numpy(split.groups)
    validation = None if sides is None else sides.validation
    everything = Examples(preprocess.encode(rows.tokens), targets, rows.ids, groups, groups, validation=validation)
    pool, test = (torch.from_numpy(np.flatnonzero(side)) for side in (~split.test, split.test))
    return everything.select(pool), everything.select(test)


def data_card(
    path: Path, rows: Rows, split: Split, preprocess: Preprocess, task: Task, targets: torch.Tensor
) -> dict[str, Any]:
    return {
        "file": path.name,
        "rows": len(rows.ids),
        **labels_card(task, targets),
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
        "lengths": preprocess.fitted(rows.tokens),
        "split": split.report,
    }


def _table_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    rows = Rows([], [], [], [])
    reader: LabelReader | None = None
    seen: set[str] = set()
    for line, row in read_table(path, limits):
        for wanted in (sequence, data.group, data.split):
            if wanted is not None:
                need_column(row, wanted, path)
        column = data.target or data.labels_from or ("label" if "label" in row or data.label_separator else None)
        if column is not None and reader is None and _labels_file(data) is None:
            reader = reader_of(column, row, path, data.label_separator)
        name = row.get("id") or f"line {line}"
        where = f"{path}, line {line} ({name})"
        if name in seen:
            raise DataError("TL-DATA-CSV", f"the id {name!r} occurs twice", where=where, fix="give each row its own id")
        seen.add(name)
        letters = row[sequence].encode("utf-8")
        check_dna(letters, where)
        rows.ids.append(name)
        rows.tokens.append(tokenize(letters))
        rows.labels.append(None if reader is None else reader.read(row, where))
        rows.groups.append(row[data.group] if data.group else None)
        rows.splits.append(row[data.split] if data.split else None)
    return replace(rows, reader=reader)


def _labels_file(data: DataOptions) -> Path | None:
    """The CSV of ids and labels, where ``labels_from`` names one."""
    if data.labels_from in (None, "header"):
        return None
    path = Path(str(data.labels_from))
    return path if path.suffix or path.exists() else None


def _groups(rows: Rows, preprocess: Preprocess) -> Ints:
    """(n,) numbers: rows of one given group, and rows that are equal once cropped, share a number."""
    missing = [i for i, g in enumerate(rows.groups) if not g]
    if 0 < len(missing) < len(rows.groups):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{len(missing)} of {len(rows.ids)} sequences have no group",
            where=rows.ids[missing[0]],
            fix="give every row a group (a column, or group=x in the title), or leave --group out",
        )
    windows = preprocess.encode(rows.tokens).tensor.numpy()
    links = [equal_links(_numbered([bytes(w) for w in windows]))]
    if not missing:
        links.append(equal_links(_numbered(rows.groups)))
    return connected(len(rows.ids), *links)


def _numbered(values: Sequence[object]) -> Ints:
    names: dict[object, int] = {}
    return np.array([names.setdefault(v, len(names)) for v in values], dtype=np.int64)
