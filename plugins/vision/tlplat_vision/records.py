"""Images of a folder, a table of paths or a Parquet file, one by one, with labels and groups as they stand there."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tlplat.data.opening import plain_suffix
from tlplat.data.tables import read_table
from tlplat.errors import DataError, UsageError
from tlplat_vision.images import SUFFIXES
from tlplat_vision.parquet import read_parquet
from tlplat_vision.table import Cells, Columns

JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation"})
LARGEST_FILE = 512 << 20
"""Bytes of one image file."""


@dataclass(frozen=True)
class Record:
    """An image that is not read yet, and what is said of it."""

    id: str
    where: str
    read: Callable[[], bytes]
    says: Cells


def read_records(path: Path, columns: Columns, warn: Callable[[str], None]) -> Iterator[Record]:
    """Every image that ``path`` names, in a stable order: by name in a folder, by row in a table.

    Raises:
        DataError TL-DATA-READ, TL-DATA-EMPTY, TL-DATA-PATH, TL-DATA-CSV, TL-DATA-COLUMN.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from _folder(path, warn)
    elif plain_suffix(path) in (".csv", ".tsv"):
        yield from _table(path, columns)
    elif suffix in (".parquet", ".pq"):
        for name, where, data, says in read_parquet(path, columns):
            yield Record(name, where, lambda data=data: data, says)  # type: ignore[misc]
    elif suffix in SUFFIXES:
        yield _file(path, path.name)
    else:
        raise DataError(
            "TL-DATA-READ",
            f"cannot tell the format of {path}",
            where=str(path),
            expected="a folder with a sub-folder for each class, a .csv or .tsv of paths, a .parquet, or one image",
            fix="name a folder of images, or give the file its right suffix",
        )


def _folder(path: Path, warn: Callable[[str], None]) -> Iterator[Record]:
    """A class a sub-folder; a flat folder of images has no labels."""
    entries = sorted(p for p in path.iterdir() if not _hidden(p))
    folders = [p for p in entries if p.is_dir()]
    loose = [p for p in entries if not p.is_dir()]
    if len(folders) > 1 and all(p.name.lower() in SPLIT_NAMES for p in folders):
        names = ", ".join(p.name for p in folders)
        raise UsageError(
            "TL-USAGE",
            f"the sub-folders of {path} are sides of a split, not classes",
            where=str(path),
            found=names,
            fix=f"add --data {path / folders[-1].name} --test-data {path / folders[0].name}, whichever is which",
        )
    skipped: list[Path] = []
    count = 0
    for folder in folders:
        inside = 0
        for file in sorted(p for p in folder.rglob("*") if not p.is_dir()):
            if any(_hidden(part) for part in (file, *file.relative_to(folder).parents)):
                continue
            if file.suffix.lower() not in SUFFIXES:
                skipped.append(file)
                continue
            inside += 1
            yield _file(file, str(file.relative_to(path)), folder.name)
        if not inside:
            raise DataError(
                "TL-DATA-EMPTY",
                f"empty class folder {folder.name!r}: it holds no image",
                where=str(folder),
                fix="remove the folder, or put the images of its class into it",
            )
        count += inside
    for file in loose:
        if file.suffix.lower() not in SUFFIXES:
            skipped.append(file)
            continue
        count += 1
        yield _file(file, file.name)
    if skipped:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        names = ", ".join(str(p.relative_to(path)) for p in skipped[:3])
        warn(f"files that are no images by their names are left out: {names}{more}")
    if not count:
        raise DataError("TL-DATA-EMPTY", f"{path} holds no image", where=str(path), fix="name a folder with images")


def _table(path: Path, columns: Columns) -> Iterator[Record]:
    """Paths are taken from the table's folder, and stay inside it."""
    root = (columns.root or path.parent).resolve()
    reader, begun = None, False
    for line, row in read_table(path):
        if not begun:
            reader, begun = columns.reader(row, path), True
        where, name = f"{path}, line {line}", row[columns.image]
        file = _inside(root, name, where)
        says = columns.cells(row, reader, where)
        yield Record(name, f"{where} ({name})", lambda file=file, where=where: _bytes(file, where), says)  # type: ignore[misc]


def _inside(root: Path, name: str, where: str) -> Path:
    if not name:
        raise DataError("TL-DATA-PATH", "a row names no image", where=where, fix="complete the row or remove it")
    try:
        file = (root / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            "TL-DATA-PATH", f"cannot follow the path {name!r}: {error}", where=where, fix="name the image's own path"
        ) from error
    if not file.is_relative_to(root):
        raise DataError(
            "TL-DATA-PATH",
            "a path leads out of the folder of images",
            where=where,
            found=name,
            expected=f"a path below {root}",
            fix="name the folder that holds all images with --image-root",
        )
    return file


def _file(path: Path, name: str, label: str | None = None) -> Record:
    return Record(name, str(path), lambda: _bytes(path, str(path)), Cells(label))


def _bytes(path: Path, where: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(
                "TL-DATA-TOO-BIG",
                "an image file is larger than is read",
                where=where,
                found=f"{size} bytes",
                expected=f"at most {LARGEST_FILE} bytes",
                fix="leave the file out, or export it as PNG or JPEG",
            )
        return path.read_bytes()
    except OSError as error:
        loop = error.errno == errno.ELOOP
        code = "TL-DATA-PATH" if loop else "TL-DATA-READ"
        reason = "its symbolic links form a loop" if loop else error.strerror or str(error)
        fix = "point the link at the image itself" if loop else "check path and rights"
        raise DataError(code, f"cannot read {path}: {reason}", where=where, fix=fix) from error


def _hidden(path: Path) -> bool:
    return (path.name.startswith(".") and path.name not in (".", "")) or path.name.lower() in JUNK
