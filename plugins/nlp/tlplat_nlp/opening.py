"""Files of the user's, opened only where they are plain files of a bearable size."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tlplat.errors import DataError

MAGIC = b"PAR1"
BOTH_ENDS = 8
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip (an Excel file is one too)",
}


@contextmanager
def opened(path: Path, most_bytes: int) -> Iterator[IO[bytes]]:
    """The file, for reading bytes.

    Raises:
        DataError TL-DATA-READ: missing, unreadable, a folder or a pipe, compressed. TL-DATA-PATH: a loop of links.
        TL-DATA-TOO-BIG.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise _read(path, "it is no plain file", "give a file (a table), not a folder or a pipe")
        with os.fdopen(descriptor, "rb") as file:
            if facts.st_size > most_bytes:
                raise DataError(
                    "TL-DATA-TOO-BIG",
                    f"{path} has {facts.st_size / 1e6:.0f} MB, more than the limit of {most_bytes / 1e6:.0f} MB",
                    where=str(path),
                    fix="raise the limit with --max-data-mb, or give fewer rows",
                )
            head = file.read(8)
            for magic, name in COMPRESSED.items():
                if head.startswith(magic):
                    raise _read(path, f"it is compressed with {name}", "decompress it, or save the rows as Parquet")
            file.seek(0)
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


def _read(path: Path, why: str, fix: str) -> DataError:
    return DataError("TL-DATA-READ", f"cannot read {path}: {why}", where=str(path), fix=fix)
