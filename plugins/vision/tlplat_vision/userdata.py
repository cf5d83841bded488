"""The user's own images: read, checked, labelled, encoded, split. What was decoded once is kept by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tlplat.data.examples import Examples
from tlplat.data.files import files_of
from tlplat.data.labelsets import read_apart
from tlplat.data.quality import row_digests
from tlplat.data.sides import Sides, files_given, given_sides
from tlplat.domain import DataOptions, DomainContext
from tlplat.errors import DataError
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification
from tlplat.tasks.sets import labels_card
from tlplat_vision.images import Limits, decode_silenced, silenced
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.labels import encode_rows, need_labels
from tlplat_vision.preprocess import Preprocess
from tlplat_vision.records import Record, read_records
from tlplat_vision.similarity import Ints, Thumbnails, thumbnail
from tlplat_vision.split import Split, check_split, split_thumbnails
from tlplat_vision.table import Columns

TEST_SHARE = 0.5
FEWEST_KINDS = 8
"""Two a fold: among images of one kind there is nothing to tell apart."""
AHEAD = 64
"""Images that are decoded at a time, by as many threads as the run has."""
CODE_VERSION = 1
"""Of decoding and thumbnails: part of the cache's keys."""


@dataclass(frozen=True)
class Rows:
    """Images in order, not decoded; ``sides``: the split that the user made, where there is one."""

    records: list[Record]
    sides: Sides | None
    content: str
    """SHA-256 over places and bytes of all images."""
    sizes: tuple[int, ...] = ()
    """Images of each file or folder."""

    @property
    def ids(self) -> list[str]:
        return [r.id for r in self.records]

    def targets(self, warn: Callable[[str], None], known: Sequence[str] = ()) -> tuple[Classification, Tensor]:
        """The task and the targets; ``known``: the classes of a source."""
        reader = next((r.says.reader for r in self.records if r.says.reader is not None), None)
        places = [r.where for r in self.records]
        return encode_rows([r.says.label for r in self.records], places, reader, warn, known)


def given_rows(data: DataOptions, columns: Columns, context: DomainContext) -> Rows:
    """The images of all files or folders of labelled rows, with the split that the user made."""
    files = files_given(data)
    rows = read_rows(files, columns, context)
    splits = [r.says.split for r in rows.records]
    return dataclasses.replace(rows, sides=given_sides(data, rows.sizes, splits, lambda i: rows.records[i].where))


def read_rows(paths: Sequence[Path], columns: Columns, context: DomainContext, *, labelled: bool = True) -> Rows:
    """The images of each of ``paths``, in order.

    Raises:
        DataError: what :func:`read_records` raises; TL-DATA-LABEL-MISSING where ``labelled``.
    """
    files = [[path] if path.is_dir() else files_of(path, ()) for path in paths]  # a folder holds a class a sub-folder
    for asked in (file for part in files for file in part):
        if not asked.exists():
            raise DataError("TL-DATA-READ", f"there is no {asked}", where=str(asked), fix="check path and rights")
    parts = [[r for file in part for r in read_records(file, columns, context.warn)] for part in files]
    records = [record for part in parts for record in part]
    if labelled:
        need_labels([r.says.label for r in records], [r.where for r in records], str(paths[0]))
    digest = hashlib.sha256()
    for record in records:
        content = hashlib.sha256(record.read()).hexdigest()
        digest.update(f"{record.where}\0{content}\0".encode("utf-8", "surrogateescape"))
    return Rows(records, None, digest.hexdigest(), tuple(map(len, parts)))


def thumbnails_of(rows: Rows, limits: Limits, context: DomainContext) -> Thumbnails:
    """Decode every image fully, and keep what near-copies are found by.

    Raises:
        DataError TL-DATA-IMAGE and others of :func:`decode`.
    """
    found: Thumbnails = _kept("image-thumbnails", "", thumbnail, rows, limits, context).numpy()
    return found


def inputs_of(rows: Rows, preprocess: Preprocess, limits: Limits, context: DomainContext) -> ImageInputs:
    """The images as the source sees them."""
    how = json.dumps(preprocess.to_json())
    return ImageInputs(_kept("image-pixels", how, preprocess.pixels, rows, limits, context))


def _kept(
    kind: str,
    how: str,
    made: Callable[[Image.Image], np.ndarray],
    rows: Rows,
    limits: Limits,
    context: DomainContext,
) -> Tensor:
    """(n, ...) what ``made`` gives for each image, from the cache or computed; warnings of decoding are kept too."""
    key = hashlib.sha256(f"{CODE_VERSION}\0{rows.content}\0{limits}\0{how}".encode()).hexdigest()

    def compute() -> dict[str, Tensor]:
        said: list[str] = []
        parts: list[np.ndarray] = []
        with (
            context.report.task("decoding images", total=len(rows.records)) as advance,
            silenced(),
            ThreadPoolExecutor(context.threads) as pool,
        ):
            for picture, sentences in _in_order(pool, rows.records, lambda record: _decoded(record, made, limits)):
                parts.append(picture)
                said += sentences
                advance(1)
        text = torch.from_numpy(np.frombuffer(json.dumps(said).encode(), dtype=np.uint8).copy())
        return {"images": torch.from_numpy(np.stack(parts)), "warnings": text}

    found = context.tensors.get_or_compute(kind, key, compute)
    _warn(json.loads(found["warnings"].numpy().tobytes()), context)
    return found["images"]


def _decoded(record: Record, made: Callable[[Image.Image], np.ndarray], limits: Limits) -> tuple[np.ndarray, list[str]]:
    """What ``made`` gives for an image, and the warnings of decoding it; Pillow decodes without Python's lock."""
    said: list[str] = []
    return made(decode_silenced(record.read(), record.where, limits, said.append)), said


def _in_order(
    pool: ThreadPoolExecutor, records: Sequence[Record], work: Callable[[Record], tuple[np.ndarray, list[str]]]
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Results in the records' order, of AHEAD records at a time: the first bad image ends it."""
    for begin in range(0, len(records), AHEAD):
        yield from pool.map(work, records[begin : begin + AHEAD])


def _warn(said: Sequence[str], context: DomainContext) -> None:
    for sentence in said[:3]:
        context.warn(sentence)
    if len(said) > 3:
        context.warn(f"{len(said) - 3} more images have several frames or float pixels")


def split_rows(
    rows: Rows,
    pictures: Thumbnails,
    same: Ints,
    targets: Tensor,
    data_seed: int,
    *,
    every: bool = True,
    names: Sequence[str] = (),
) -> Split:
    """The user's split where there is one, else one made here by clusters of near-copies.

    Args:
        targets: (n,) classes, or (n, c) any number of labels, which ``names`` are of.
        same: (n,) numbers: rows of one number are equal once encoded.
        every: every class must be on both sides.

    Raises:
        DataError TL-LEAK-DUP: the given split leaks. TL-DATA-CLASS-SMALL: too few clusters of a class.
    """
    if rows.sides is not None:
        return check_split(pictures, rows.sides.test, rows.ids, rows.sides.by, _groups(rows))
    split = split_thumbnails(pictures, (same, _groups(rows)), targets.numpy(), TEST_SHARE, data_seed, names)
    for label in np.unique(targets.numpy()).tolist() if every and targets.ndim == 1 else ():
        inside = split.test[targets.numpy() == label]
        if inside.all() or not inside.any():
            name = rows.records[int(np.flatnonzero(targets.numpy() == label)[0])].says.label
            raise DataError(
                "TL-DATA-CLASS-SMALL",
                f"class {name!r} has {len(inside)} image{'' if len(inside) == 1 else 's'} in one cluster of "
                "near-copies; a split into training and test needs at least 2 clusters of each class",
                found=f"{split.report['groups']} clusters among {len(rows.records)} images",
                fix=read_apart([str(r.says.label) for r in rows.records])
                or "add images of that class that are not near-copies of each other",
            )
    return split


def equal_rows(inputs: ImageInputs) -> Ints:
    """(n,) numbers: rows of equal content share one."""
    return _numbered(row_digests(inputs))


def as_examples(
    inputs: ImageInputs, targets: Tensor, ids: Sequence[str], split: Split, sides: Sides | None = None
) -> tuple[Examples, Examples]:
    """Pool and test rows."""
    groups = torch.from_numpy(split.groups)
    validation = None if sides is None else sides.validation
    everything = Examples(inputs, targets, ids, groups, groups, validation=validation)
    pool, test = (torch.from_numpy(np.flatnonzero(side)) for side in (~split.test, split.test))
    return everything.select(pool), everything.select(test)


def by_kind(pool: Examples, test: Examples, context: DomainContext) -> Examples:
    """The pool of a retrieval, whose folds hold out whole kinds where the test rows are of kinds that it lacks."""
    known, asked = set(pool.targets.tolist()), set(test.targets.tolist())
    if known & asked or pool.validation is not None:
        return pool
    if len(known) >= FEWEST_KINDS:
        offset = int(test.groups.max()) + 1 if test.groups is not None else 0
        return dataclasses.replace(pool, groups=offset + pool.targets)
    context.warn(
        f"test images are of new kinds, but {len(known)} labelled kinds are too few to hold some out: candidates are "
        "chosen on kinds that they were fitted on, which may flatter those that change the network most"
    )
    return pool


def data_card(path: Path, rows: Rows, split: Split, task: Task, targets: Tensor) -> dict[str, Any]:
    return {
        "file": path.name,
        "rows": len(rows.records),
        **labels_card(task, targets),
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
        "split": split.report,
    }


def _groups(rows: Rows) -> Ints:
    """(n,) numbers of the groups given, a number of its own for each row where none is."""
    given = [r.says.group for r in rows.records]
    missing = [i for i, g in enumerate(given) if g is None]
    if len(missing) == len(given):
        return np.arange(len(given))
    if missing:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{len(missing)} of {len(given)} images have no group",
            where=rows.records[missing[0]].where,
            fix="give every row a group, or leave --group out",
        )
    return _numbered(given)


def _numbered(values: Sequence[object]) -> Ints:
    names: dict[object, int] = {}
    return np.array([names.setdefault(v, len(names)) for v in values], dtype=np.int64)
