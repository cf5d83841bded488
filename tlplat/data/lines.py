"""Lines of a text file, checked as they are read: UTF-8, no NUL, none so long that it fills the memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tlplat.errors import DataError

UTF_8_MARK, UTF_16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


def text_lines(file: IO[bytes], path: Path, code: str, longest: int) -> Iterator[tuple[int, str]]:
    r"""(number from 1, line with its end) of UTF-8 text with or without a byte-order mark; ends are ``\n \r\n \r``.

    No content of a line is shown in an error, only its place and the byte at fault.

    Args:
        code: of the errors for a NUL byte and for more than ``longest`` bytes without a ``\n``.

    Raises:
        DataError ``code``, TL-DATA-ENCODING.
    """
    number = 0
    while raw := file.readline(longest):
        if not number:
            if raw[:2] in UTF_16_MARKS:
                raise not_utf8(path, "it is UTF-16 text", f"{path}, line 1", f"bytes {raw[:2].hex(' ')}")
            raw = raw.removeprefix(UTF_8_MARK)
        if len(raw) >= longest and raw[-1:] != b"\n" and b"\0" not in raw:
            raise DataError(
                code,
                f"row {number + 1} is a line of more than {longest >> 20} MB",
                where=f"{path}, line {number + 1}",
                fix="mend the line, or leave it out",
            )
        for piece in _LINES.findall(raw):
            number += 1
            where = f"{path}, line {number}"
            if b"\0" in piece:
                found = f"byte {piece.index(0) + 1} of the line"
                raise DataError(code, f"a NUL byte in row {number}", where=where, found=found, fix="mend the line")
            try:
                yield number, piece.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{piece[error.start]:02x} at {error.start + 1}"
                raise not_utf8(path, "it is not UTF-8 text", where, found) from error


def not_utf8(path: Path, what: str, where: str, found: str) -> DataError:
    """The error TL-DATA-ENCODING."""
    return DataError(
        "TL-DATA-ENCODING",
        f"cannot read {path}: {what}",
        where=where,
        found=found,
        fix="save the file as UTF-8 (`iconv -f FROM -t UTF-8 FILE`)",
    )
