"""Text of a file, plain or gzip, as a stream: bounded in size, whole to the last byte, or an error that says where."""

from __future__ import annotations

import errno
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from tlplat.errors import DataError

GZIP = b"\x1f\x8b"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every whole bgzip file (SAM specification, section 4.1.2)."""
OTHER_COMPRESSION = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Limits:
    """How much a reader takes in before it refuses.

    Attributes:
        bytes: of text, after decompression.
        ratio: decompressed to compressed size, looked at after ``ratio_from`` bytes; real sequence stays below 20.
    """

    bytes: int = 1 << 30
    ratio: float = 200.0
    ratio_from: int = 16 << 20


DEFAULT_LIMITS = Limits()


@contextmanager
def open_text(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[TextIO]:
    r"""Text of ``path`` with ``\n``, ``\r\n`` or ``\r`` line ends read as ``\n``; gzip is told by its magic bytes.

    Every member of a multi-member gzip or bgzip file is read.

    Raises:
        DataError TL-DATA-READ: missing, unreadable, truncated or corrupt, another compression.
        DataError TL-DATA-TOO-BIG: beyond ``limits``.
        DataError TL-DATA-ENCODING: not UTF-8 text, or NUL bytes.
    """
    try:
        with path.open("rb") as raw:
            stream = _decompressed(path, raw)
            counted = _Counted(stream, path, path.stat().st_size if stream is not raw else None, limits)
            with io.TextIOWrapper(io.BufferedReader(counted, 1 << 16), encoding="utf-8-sig", newline=None) as text:
                yield text
    except UnicodeDecodeError as error:
        raise DataError(
            "TL-DATA-ENCODING",
            f"{path} is not UTF-8 text",
            where=str(path),
            found=f"byte 0x{error.object[error.start]:02x}",
            fix="save the file as plain text in UTF-8 or ASCII",
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            "TL-DATA-READ",
            f"gzip data of {path} are truncated or corrupt: {error}",
            where=str(path),
            fix="copy or download the file again; `gzip -t FILE` tells whether it is whole",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    """The reason, and what to do about it."""
    code, fix = "TL-DATA-READ", "check path and rights"
    reason = error.strerror or str(error)
    if error.errno == errno.ELOOP:
        code, fix, reason = (
            "TL-DATA-PATH",
            "point the link at the file itself",
            f"its symbolic links form a loop ({reason})",
        )
    elif error.errno == errno.EISDIR:
        fix = "give one file of the folder, or join its files into one (`cat folder/*.fasta > all.fasta`)"
    return DataError(code, f"cannot read {path}: {reason}", where=str(path), fix=fix)


def _decompressed(path: Path, raw: IO[bytes]) -> IO[bytes]:
    head = raw.read(18)
    for magic, name in OTHER_COMPRESSION.items():
        if head.startswith(magic):
            raise DataError(
                "TL-DATA-READ",
                f"{path} is compressed with {name}; only gzip and bgzip are read",
                where=str(path),
                fix=f"decompress it, or compress it with gzip instead of {name}",
            )
    if not head.startswith(GZIP):
        raw.seek(0)
        return raw
    is_bgzip = len(head) >= 14 and bool(head[3] & 4) and head[12:14] == b"BC"
    if is_bgzip:
        raw.seek(-min(len(BGZF_END), path.stat().st_size), io.SEEK_END)
        if raw.read() != BGZF_END:
            raise EOFError("the bgzip end-of-file block is missing")
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]


class _Counted(io.RawIOBase):
    """Passes bytes on and raises once there are too many."""

    def __init__(self, stream: IO[bytes], path: Path, compressed: int | None, limits: Limits) -> None:
        self._stream, self._path, self._compressed, self._limits = stream, path, compressed, limits
        self._seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        if self._seen == 0 and data[257:262] == b"ustar":
            raise DataError(
                "TL-DATA-PATH",
                f"{self._path} is a tar archive; its members are not unpacked or read",
                where=str(self._path),
                fix="unpack it yourself (`tar -xf FILE`) and give the sequence file inside",
            )
        if b"\0" in data:
            place = self._seen + data.index(b"\0")
            raise DataError(
                "TL-DATA-ENCODING",
                f"{self._path} holds a NUL byte, so it is no text file",
                where=f"{self._path}, byte {place}",
                fix="give a text file (FASTA, FASTQ, GenBank, CSV), optionally compressed with gzip",
            )
        self._seen += len(data)
        self._check()
        buffer[: len(data)] = data
        return len(data)

    def _check(self) -> None:
        limits = self._limits
        if self._seen > limits.bytes:
            raise self._too_big(f"more than the limit of {limits.bytes / 1e6:.0f} MB of text")
        ratio = self._seen / max(1, self._compressed or self._seen)
        if self._seen > limits.ratio_from and ratio > limits.ratio:
            raise self._too_big(f"it expands more than the limit of {limits.ratio:.0f} times (a decompression bomb?)")

    def _too_big(self, why: str) -> DataError:
        return DataError(
            "TL-DATA-TOO-BIG",
            f"{self._path} is too big: {why}",
            where=f"{self._path}, after {self._seen / 1e6:.0f} MB of text",
            fix="split the file, or raise the limit with --max-data-mb if the file is genuine and uncompressed",
        )
