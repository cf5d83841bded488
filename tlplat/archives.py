"""One member of a zip or tar archive, or of an archive inside one, as a stream. Nothing is unpacked to its own path."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tlplat.errors import ResourceError, did_you_mean

_BLOCK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)


def check_member(name: str) -> str:
    """The name, if it is a plain relative path of an archive member; else ValueError."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError(f"{name!r} is no relative path of an archive member")
    return name


def member_chunks(archive: Path, members: Sequence[str]) -> Iterator[bytes]:
    """Content of ``members[0]``; with more, of ``members[1]`` in the archive that ``members[0]`` is, and so on.

    In a tar archive a name may leave out the one folder that holds everything, as source distributions have it.

    Raises:
        ResourceError TL-ASSET-MEMBER: no regular file of that name. TL-ASSET-ARCHIVE: damaged or no archive.
    """
    try:
        with open(archive, "rb") as file, _open(file, members, archive.name) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except _DAMAGED as error:
        raise ResourceError(
            "TL-ASSET-ARCHIVE",
            f"{archive.name} cannot be read: {error or type(error).__name__}",
            where=" > ".join((archive.name, *members)),
            fix="fetch it again; if that does not help, report it to the author of the plugin that names it",
        ) from error


@contextmanager
def _open(file: IO[bytes], members: Sequence[str], name: str) -> Iterator[IO[bytes]]:
    if not members:
        yield file
        return
    member = check_member(members[0])
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as bundle:
            entry = next((e for e in bundle.infolist() if e.filename == member), None)
            kind = (entry.external_attr >> 28) if entry else 0  # the top bits of a Unix mode: 8 regular, 0 not told
            if entry is None or entry.is_dir() or kind not in (0, 8) or entry.flag_bits & 1:
                raise _missing(name, member, bundle.namelist())
            with bundle.open(entry) as stream, _open(stream, members[1:], member) as inner:
                yield inner
        return
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:*") as bundle:
        entries = bundle.getmembers()
        chosen = next((e for e in entries if member in (e.name, e.name.partition("/")[2])), None)
        content = bundle.extractfile(chosen) if chosen is not None and chosen.isreg() else None
        if content is None:
            raise _missing(name, member, [e.name for e in entries])
        with content, _open(content, members[1:], member) as inner:
            yield inner


def _missing(archive: str, member: str, names: Sequence[str]) -> ResourceError:
    return ResourceError(
        "TL-ASSET-MEMBER",
        f"{archive} has no regular file {member!r}{did_you_mean(member, names)}",
        where=archive,
        fix="update the plugin that names it, or report it to its author",
    )
