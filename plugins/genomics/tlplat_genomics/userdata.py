"""The user's own sequences: read, labelled, encoded, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import Examples
from tlplat.domain import DataOptions
from tlplat.errors import DataError, UsageError
from tlplat_genomics.alphabet import check_dna
from tlplat_genomics.labels import header_value, lookup, need_labels, table_labels
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.readers import format_of, read_records
from tlplat_genomics.sequence import Tokens, tokenize
from tlplat_genomics.similarity import Ints
from tlplat_genomics.split import Split, check_split, split_sequences
from tlplat_genomics.strict import Limits
from tlplat_genomics.table import need_column, read_table

TEST_SHARE = 0.5


@dataclass(frozen=True)
class Rows:
    """Sequences of a file in its order; ``labels`` and ``groups`` hold None where a row has none."""

    ids: list[str]
    tokens: list[Tokens]
    labels: list[str | None]
    groups: list[str | None]


def read_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    """Sequences, with labels and groups where ``data`` says from where."""
    if format_of(path, limits) == "table":
        rows = _table_rows(path, data, sequence, limits)
    else:
        records = list(read_records(path, limits))
        from_header = data.labels_from == "header"
        rows = Rows(
            ids=[r.id for r in records],
            tokens=[r.tokens() for r in records],
            labels=[header_value(r) if from_header else None for r in records],
            groups=[header_value(r, data.group) if data.group else None for r in records],
        )
    separate = _labels_file(data)
    if separate is None:
        return rows
    return Rows(rows.ids, rows.tokens, lookup(table_labels(separate, data.target, limits), rows.ids), rows.groups)


def labelled_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    """As :func:`read_rows`; every row has a label.

    Raises:
        UsageError TL-USAGE: nothing says where labels are. DataError TL-DATA-LABEL-MISSING: rows without.
    """
    if data.labels_from is None and data.target is None and format_of(path, limits) != "table":
        raise UsageError(
            "TL-USAGE",
            f"{path} holds sequences, and nothing says where their labels are",
            fix="add --labels-from header (titles such as '>id label=x') or --labels-from labels.csv (id,label)",
        )
    rows = read_rows(path, data, sequence, limits)
    need_labels(rows.labels, rows.ids, str(_labels_file(data) or path))
    return rows


def split_rows(
    pool: Rows, held: Rows | None, preprocess: Preprocess, data_seed: int
) -> tuple[Split, list[Tokens], list[str]]:
    """The split of the user's rows: given by a file of test rows, which must not leak, or made here by clusters."""
    if held is None:
        return split_sequences(pool.tokens, _groups(pool, preprocess), TEST_SHARE, data_seed), pool.tokens, pool.ids
    tokens, ids = pool.tokens + held.tokens, pool.ids + held.ids
    test = np.arange(len(ids)) >= len(pool.ids)
    return check_split(tokens, test, ids), tokens, ids


def as_examples(
    tokens: Sequence[Tokens], ids: Sequence[str], targets: torch.Tensor, split: Split, preprocess: Preprocess
) -> tuple[Examples, Examples]:
    """Pool and test rows."""
    groups = torch.from_numpy(split.groups)
    everything = Examples(preprocess.encode(tokens), targets, ids, groups, groups)
    pool, test = (torch.from_numpy(np.flatnonzero(side)) for side in (~split.test, split.test))
    return everything.select(pool), everything.select(test)


def data_card(path: Path, tokens: Sequence[Tokens], split: Split, preprocess: Preprocess) -> dict[str, Any]:
    return {
        "file": path.name,
        "rows": len(tokens),
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
        "lengths": preprocess.fitted(tokens),
        "split": split.report,
    }


def _table_rows(path: Path, data: DataOptions, sequence: str, limits: Limits) -> Rows:
    rows = Rows([], [], [], [])
    column = data.target or (data.labels_from if _labels_file(data) is None else None)
    seen: set[str] = set()
    for line, row in read_table(path, limits):
        need_column(row, sequence, path)
        for wanted in (column if _labels_file(data) is None else None, data.group):
            if wanted is not None:
                need_column(row, wanted, path)
        name = row.get("id") or f"line {line}"
        where = f"{path}, line {line} ({name})"
        if name in seen:
            raise DataError("TL-DATA-CSV", f"the id {name!r} occurs twice", where=where, fix="give each row its own id")
        seen.add(name)
        letters = row[sequence].encode("utf-8")
        check_dna(letters, where)
        rows.ids.append(name)
        rows.tokens.append(tokenize(letters))
        rows.labels.append(row.get(column or "label") or None)
        rows.groups.append(row[data.group] if data.group else None)
    return rows


def _labels_file(data: DataOptions) -> Path | None:
    """The CSV of ids and labels, where ``labels_from`` names one."""
    if data.labels_from in (None, "header"):
        return None
    path = Path(str(data.labels_from))
    return path if path.suffix or path.exists() else None


def _groups(rows: Rows, preprocess: Preprocess) -> Ints:
    """(n,) numbers: rows of one given group, and rows that are equal once cropped, share a number."""
    names: dict[object, int] = {}
    if any(g is not None for g in rows.groups):
        missing = [i for i, g in enumerate(rows.groups) if not g]
        if missing:
            raise DataError(
                "TL-DATA-COLUMN",
                f"{len(missing)} of {len(rows.ids)} sequences have no group",
                where=rows.ids[missing[0]],
                fix="give every row a group (a column, or group=x in the title), or leave --group out",
            )
        return np.array([names.setdefault(g, len(names)) for g in rows.groups], dtype=np.int64)
    windows = preprocess.encode(rows.tokens).tensor.numpy()
    return np.array([names.setdefault(bytes(w), len(names)) for w in windows], dtype=np.int64)
