"""The one place that changes a disk: every write, fsync and rename of tlplat is a method of :class:`Disk`.

A file or folder appears under its name complete or not at all. While it is made it lies beside its target under a
temporary name that its maker holds a kernel lock (flock) on. The lock ends with its holder, so
:func:`clean_temporaries` tells what a killed process left from what a living one is writing. POSIX only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlplat.errors import ResourceError

Buffer = bytes | bytearray | memoryview
_BLOCK = 1 << 20
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp", re.DOTALL)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """The calls that change a disk. A test puts its own instance into :data:`calls` to stop a writer at any of them."""

    def create(self, path: Path) -> int:
        """A new file, which must not exist, as an open descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, data: Buffer) -> None:
        rest = memoryview(data)
        while len(rest):
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def sync_folder(self, folder: Path) -> None:
        """Make renames inside ``folder`` last."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, path: Path) -> None:
        os.mkdir(path)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        os.rmdir(path)


calls = Disk()


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a ResourceError: TL-IO-ENOSPC where the disk is full, else TL-IO-WRITE."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(
                "TL-IO-ENOSPC",
                f"No space left on the disk while writing {path}",
                where=str(path),
                fix="free some space, or name another place with --out or TLPLAT_CACHE_DIR",
            ) from error
        raise ResourceError(
            "TL-IO-WRITE",
            f"cannot write {path}: {error.strerror or error}",
            where=str(path),
            fix="check that the folder exists, is yours and is not read-only, or name another place",
        ) from error


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a ResourceError TL-IO-READ."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            "TL-IO-READ",
            f"cannot read {path}: {error.strerror or error}",
            where=str(path),
            fix="check that the file exists and is yours to read",
        ) from error


def write_chunks(path: Path, chunks: Iterable[Buffer]) -> None:
    """Put a file of these bytes in place atomically and durably; parent folders are made.

    An exception from ``chunks`` leaves what was there before. Raises ResourceError TL-IO-ENOSPC or TL-IO-WRITE.
    """
    with write_errors(path):
        make_folders(path.parent)
        temporary, descriptor = _claim_file(path)
        try:
            for block in _blocks(chunks):
                calls.write(descriptor, block)
            calls.fsync(descriptor)
            calls.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        calls.sync_folder(path.parent)


def _blocks(chunks: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes; small chunks are joined, so that a thousand small tensors are one call."""
    pending = bytearray()
    for chunk in chunks:
        if len(chunk) < _BLOCK:
            pending += chunk
            if len(pending) < _BLOCK:
                continue
            chunk = b""
        if pending:
            yield pending
            pending = bytearray()
        if len(chunk):
            yield chunk
    if pending:
        yield pending


def make_folders(folder: Path) -> None:
    """``mkdir -p``, durably."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        calls.make_folder(folder)
        calls.sync_folder(folder.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(folder))


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to fill; it is removed at the end unless it was renamed by then."""
    make_folders(target.parent)
    folder, descriptor = _claim_folder(target)
    try:
        yield folder
    finally:
        os.close(descriptor)
        with suppress(OSError):
            remove_tree(folder)


def replace_folder(folder: Path, target: Path) -> None:
    """Rename a finished temporary folder to ``target``; what is there before is put aside and removed."""
    if target.exists():
        remove_folder(target)
    calls.replace(folder, target)
    calls.sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is never seen half-removed: first renamed to a temporary name, then emptied."""
    aside = _temporary_name(folder)
    calls.replace(folder, aside)
    remove_tree(aside)


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it; links are removed, not followed. A missing folder is fine."""
    with suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
            else:
                calls.remove(Path(entry.path))
        calls.remove_folder(folder)


def clean_temporaries(folder: Path) -> list[Path]:
    """Remove what killed writers left anywhere below ``folder``; returns the paths removed.

    What a living process is writing stays. Files and folders that cannot be opened or removed stay too.
    """
    removed: list[Path] = []
    for parent, folders, files in os.walk(folder):
        for name in [n for n in (*folders, *files) if is_temporary(n)]:
            path = Path(parent, name)
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if _hold(descriptor):
                        if name in folders:
                            remove_tree(path)
                        else:
                            calls.remove(path)
                        removed.append(path)
                finally:
                    os.close(descriptor)
        folders[:] = [n for n in folders if not is_temporary(n)]
    return removed


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is an unfinished one of ours."""
    return _TEMPORARY.fullmatch(name) is not None


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")


def _hold(descriptor: int) -> bool:
    """Take the kernel lock of an open file; False where another holds it. True where there are no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def _claim_file(path: Path) -> tuple[Path, int]:
    while True:
        temporary = _temporary_name(path)
        descriptor = calls.create(temporary)
        if _hold(descriptor) and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # a cleaner saw it before it was held


def _claim_folder(target: Path) -> tuple[Path, int]:
    while True:
        temporary = _temporary_name(target)
        calls.make_folder(temporary)
        with suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _hold(descriptor) and temporary.is_dir():
                return temporary, descriptor
            os.close(descriptor)
