"""Files of the user's, opened only where they are plain files of a bearable size; compressed ones are unpacked as read.

gzip (bgzip too), bzip2, xz and Zstandard are told by their first bytes, whatever the name says.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tlplat.errors import DataError

PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
ENDINGS = frozenset({".gz", ".bgz", ".bz2", ".xz", ".zst"})
"""Of compressed files: the ending before them says what they hold."""
ZIP = b"PK\x03\x04"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every whole bgzip file (SAM specification, section 4.1.2)."""
HEAD = 512


@dataclass(frozen=True)
class Limits:
    """How much a reader takes in before it refuses.

    Attributes:
        bytes: of content, after decompression.
        ratio: decompressed to compressed size, looked at after ``ratio_from`` bytes; real data stay below 100.
    """

    bytes: int = 1 << 30
    ratio: float = 200.0
    ratio_from: int = 16 << 20


DEFAULT_LIMITS = Limits()


@contextmanager
def opened(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[IO[bytes]]:
    """The content of a file, for reading bytes; a file that is not compressed can be searched (``seek``).

    Raises:
        DataError TL-DATA-READ: missing, unreadable, a folder or a pipe, a zip archive, compressed data that are cut off
        or corrupt. TL-DATA-PATH: a loop of links, a tar archive. TL-DATA-TOO-BIG: beyond ``limits``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise _read(path, "it is no plain file", "give one file, not a folder or a pipe")
        with os.fdopen(descriptor, "rb") as raw:
            head = raw.read(HEAD)
            _no_archive(head, path)
            packed = _packing(head)
            if packed is None:
                if facts.st_size > limits.bytes:
                    raise _too_big(path, f"it has {facts.st_size / 1e6:.0f} MB, more than the limit of {_mb(limits)}")
                raw.seek(0)
                yield raw
                return
            if packed == "gzip" and head[3] & 4 and head[12:14] == b"BC":
                _need_bgzf_end(raw, path)
            raw.seek(0)
            stream = _Counted(_unpacked(raw, packed), packed, path, facts.st_size, limits)
            with io.BufferedReader(stream, 1 << 16) as file:
                _no_archive(file.peek(HEAD)[:HEAD], path)
                yield file
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(
                "TL-DATA-PATH",
                f"the symbolic links of {path} form a loop",
                where=str(path),
                fix="point the link at the file itself",
            ) from error
        raise _read(path, error.strerror or str(error), "check path and rights") from error


def is_packed(path: Path) -> bool:
    """Whether a plain file is compressed, by its first bytes."""
    with path.open("rb") as raw:
        return _packing(raw.read(HEAD)) is not None


def _packing(head: bytes) -> str | None:
    return next((name for magic, name in PACKED.items() if head.startswith(magic)), None)


def plain_suffix(path: Path) -> str:
    """The ending that says what the file holds, in small letters: ``.csv`` of ``rows.csv.gz``."""
    found = [suffix.lower() for suffix in path.suffixes]
    while found and found[-1] in ENDINGS:
        found.pop()
    return found[-1] if found else ""


def _unpacked(raw: IO[bytes], packed: str) -> Any:
    if packed == "zstd":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    if packed == "gzip":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    return bz2.BZ2File(raw) if packed == "bzip2" else lzma.LZMAFile(raw)


def _need_bgzf_end(raw: IO[bytes], path: Path) -> None:
    raw.seek(-len(BGZF_END), io.SEEK_END)
    if raw.read() != BGZF_END:
        raise _corrupt(path, "gzip", "the bgzip end-of-file block is missing")


def _no_archive(head: bytes, path: Path) -> None:
    if head[257:262] == b"ustar":
        raise DataError(
            "TL-DATA-PATH",
            f"{path} is a tar archive; its members are not unpacked or read",
            where=str(path),
            fix="unpack it yourself (`tar -xf FILE`) and give the file inside",
        )
    if head.startswith(ZIP):
        raise _read(
            path,
            "it is a zip archive (an Excel file is one too); its members are not unpacked",
            "save the rows as CSV, or unpack the archive yourself",
        )


class _Counted(io.RawIOBase):
    """Passes unpacked bytes on, and raises once there are too many."""

    def __init__(self, stream: Any, packed: str, path: Path, size: int, limits: Limits) -> None:
        super().__init__()
        self._stream, self._packed, self._path, self._size, self._limits = stream, packed, path, size, limits
        self._seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise _corrupt(self._path, self._packed, str(error)) from error
        self._seen += len(data)
        limits = self._limits
        if self._seen > limits.bytes:
            raise _too_big(self._path, f"unpacked, it has more than the limit of {_mb(limits)}")
        if self._seen > limits.ratio_from and self._seen > limits.ratio * self._size:
            bomb = f"it expands more than the limit of {limits.ratio:.0f} times (a decompression bomb?)"
            raise _too_big(self._path, bomb)
        buffer[: len(data)] = data
        return len(data)


def _mb(limits: Limits) -> str:
    return f"{limits.bytes / 1e6:.0f} MB"


def _too_big(path: Path, why: str) -> DataError:
    return DataError(
        "TL-DATA-TOO-BIG",
        f"{path} is too big: {why}",
        where=str(path),
        fix="give fewer rows, or raise the limit where the domain has one (--max-data-mb); unpack a genuine file first",
    )


def _corrupt(path: Path, packed: str, why: str) -> DataError:
    return _read(
        path,
        f"its {packed} data are truncated or corrupt ({why})",
        "copy or download the file again; unpacking it (`gzip -t FILE`) tells whether it is whole",
    )


def _read(path: Path, why: str, fix: str) -> DataError:
    return DataError("TL-DATA-READ", f"cannot read {path}: {why}", where=str(path), fix=fix)
