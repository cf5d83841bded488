"""Reading and writing files whole: what all of tlplat uses. Importing it imports no torch.

Every file is written to a temporary name in its folder, flushed, synced and renamed (:mod:`tlplat.disk`), so a reader
sees the old content or the new, also after a kill at any point.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlplat.disk import clean_temporaries, make_folders, read_errors, write_chunks, write_errors
from tlplat.errors import ModelError
from tlplat.manifest import check_manifest, read_manifest, sha256_file, write_manifest
from tlplat.tensorfile import read_tensors, write_tensors

__all__ = [
    "check_manifest",
    "clean_temporaries",
    "lock",
    "read_json",
    "read_manifest",
    "read_tensors",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_manifest",
    "write_tensors",
    "write_text",
]


def write_bytes(path: Path | str, data: bytes) -> None:
    """Put a file in place, atomically and durably; parent folders are made.

    Raises ResourceError TL-IO-ENOSPC ("No space left") or TL-IO-WRITE; the previous file stays.
    """
    write_chunks(Path(path), [data])


def write_text(path: Path | str, text: str) -> None:
    """``write_bytes`` in UTF-8; what that cannot hold (bytes of a file name that is no text) becomes ``\\udcXX``."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path | str, document: Any) -> None:
    """``write_text`` of JSON, two spaces deep, keys in the order given. NumPy scalars and arrays, and paths, are fine.

    Raises ValueError for NaN and infinity, which JSON does not have, TypeError for what has no JSON form.
    """
    write_text(path, json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=_plain) + "\n")


def read_json(path: Path | str) -> Any:
    """The document of a JSON file.

    Raises ResourceError TL-IO-READ where it cannot be read, ModelError TL-MODEL-CORRUPT with line and column where
    it is no JSON.
    """
    path = Path(path)
    with read_errors(path):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f", line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ModelError(
            "TL-MODEL-CORRUPT",
            f"{path.name} is no valid JSON: {error}",
            where=f"{path}{place}",
            fix="restore the file from a copy, or make it again",
        ) from error


@contextmanager
def lock(path: Path | str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold ``path`` (a file that stays, empty) against other processes and threads; waits until it is free.

    The kernel frees it when its holder dies, so a lock is never stale. A second lock of one path in one thread waits
    for ever.

    Args:
        waiting: told once, in a sentence, that another process holds it.

    Raises:
        ResourceError TL-IO-ENOSPC, TL-IO-WRITE: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    held = FileLock(path)
    with write_errors(path):
        make_folders(path.parent)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if waiting is not None:
                waiting(f"waiting for another process that holds {path}")
            held.acquire(poll_interval=0.05)
    try:
        yield
    finally:
        held.release()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
