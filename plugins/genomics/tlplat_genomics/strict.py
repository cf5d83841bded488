"""Text of a file, compressed or not, as a stream: bounded in size and whole to the last byte."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

from tlplat.data.opening import DEFAULT_LIMITS, Limits, opened
from tlplat.errors import DataError

__all__ = ["DEFAULT_LIMITS", "Limits", "open_text"]


@contextmanager
def open_text(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[TextIO]:
    r"""Text of ``path`` with ``\n``, ``\r\n`` or ``\r`` line ends read as ``\n``.

    Every member of a multi-member gzip or bgzip file is read.

    Raises:
        DataError: what :func:`tlplat.data.opening.opened` raises; TL-DATA-ENCODING: not UTF-8 text, or NUL bytes.
    """
    try:
        with opened(path, limits) as file:
            counted = io.BufferedReader(_NoNul(file, path), 1 << 16)
            with io.TextIOWrapper(counted, encoding="utf-8-sig", newline=None) as text:
                yield text
    except UnicodeDecodeError as error:
        raise DataError(
            "TL-DATA-ENCODING",
            f"{path} is not UTF-8 text",
            where=str(path),
            found=f"byte 0x{error.object[error.start]:02x}",
            fix="save the file as plain text in UTF-8 or ASCII",
        ) from error


class _NoNul(io.RawIOBase):
    """Passes bytes on and raises at a NUL."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__()
        self._stream, self._path, self._seen = stream, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        if b"\0" in data:
            raise DataError(
                "TL-DATA-ENCODING",
                f"{self._path} holds a NUL byte, so it is no text file",
                where=f"{self._path}, byte {self._seen + data.index(0)}",
                fix="give a text file (FASTA, FASTQ, GenBank, CSV), compressed or not",
            )
        self._seen += len(data)
        buffer[: len(data)] = data
        return len(data)
