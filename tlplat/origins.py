"""What an asset is, where it comes from, where it lies in the cache, and whether its content is right."""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tlplat.archives import check_member
from tlplat.errors import Finding, ResourceError
from tlplat.storage import sha256_file

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")


@dataclass(frozen=True)
class PipMember:
    """A member of a distribution's archive on the package index; the distribution is neither installed nor imported.

    Attributes:
        member: path in the archive; in a source distribution its top folder may be left out.
        sdist: a source distribution; it needs ``archive_sha256``. Its build script is not run.
        archive_sha256: of the whole archive, checked by pip first.
        nested: a path inside ``member``, where that is an archive itself.
    """

    distribution: str
    version: str
    member: str
    sdist: bool = False
    archive_sha256: str | None = None
    nested: str | None = None

    def __post_init__(self) -> None:
        for name in self.members:
            check_member(name)
        if not (_NAME.fullmatch(self.distribution) and _VERSION.fullmatch(self.version)):
            raise ValueError(f"{self.distribution!r} {self.version!r} is no distribution's name and exact version")
        if self.archive_sha256 is not None and not _SHA256.fullmatch(self.archive_sha256):
            raise ValueError(f"archive_sha256 of {self.distribution} is no SHA-256 in lower case")

    @property
    def members(self) -> list[str]:
        return [self.member] if self.nested is None else [self.member, self.nested]

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.members[-1]).name

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({'source' if self.sdist else 'wheel'}): {' > '.join(self.members)}"


@dataclass(frozen=True)
class Url:
    """A file behind an ``https:`` or ``file:`` address."""

    url: str

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("https", "file") or self.file_name in ("", ".", ".."):
            raise ValueError(f"{self} is no https: or file: address of a file")

    @property
    def file_name(self) -> str:
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True)
class LocalFile:
    """A file of the user's."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Embedded:
    """A file inside an installed package; ``resource`` is its path there."""

    package: str
    resource: str

    def __post_init__(self) -> None:
        check_member(self.resource)

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.resource).name

    def __str__(self) -> str:
        return f"package {self.package}: {self.resource}"


Origin = PipMember | Url | LocalFile | Embedded


@dataclass(frozen=True)
class Asset:
    """A file by content. ``bytes`` is its size, where known: a longer file is refused before it fills the disk."""

    name: str
    sha256: str
    license: str
    citation: str
    origin: Origin
    bytes: int | None = None

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"the SHA-256 of asset {self.name!r} is not 64 hexadecimal digits in lower case")


def place(asset: Asset, cache: Path) -> Path:
    """Where the asset's file is, or will be."""
    origin = asset.origin
    if isinstance(origin, LocalFile):
        return Path(origin.path).expanduser()
    if isinstance(origin, Embedded) and (found := _embedded(asset, origin)) is not None:
        return found
    assert not isinstance(origin, LocalFile)
    return Path(cache) / "assets" / asset.sha256 / origin.file_name


def verify(asset: Asset, cache: Path) -> bool | None:
    """Whether the asset's file has the pinned content; None where there is no file. Touches no network."""
    path = place(asset, cache)
    try:
        return sha256_file(path) == asset.sha256
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return False


def verified(asset: Asset, chunks: Iterable[bytes], advance: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Pass ``chunks`` on; at their end raise ResourceError TL-ASSET-HASH unless they are the asset."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
        if asset.bytes is not None and size > asset.bytes:
            raise wrong_content(asset, f"more than {asset.bytes} bytes")
        yield chunk
        if advance is not None:
            advance(len(chunk))
    if digest.hexdigest() != asset.sha256:
        raise wrong_content(asset, f"{digest.hexdigest()} ({size} bytes)")


def wrong_content(asset: Asset, found: str) -> ResourceError:
    return ResourceError(
        "TL-ASSET-HASH",
        f"asset {asset.name!r} does not have the pinned content; it was not kept",
        where=str(asset.origin),
        found=found,
        expected=asset.sha256,
        fix="update the plugin that names it; if it is current, the file was changed at its origin: tell its author",
    )


def unreachable(assets: Sequence[Asset], cache: Path, reason: str, commands: str) -> ResourceError:
    """TL-ASSET-OFFLINE: what is missing and how to bring it here by hand."""
    names = ", ".join(repr(a.name) for a in assets[:3]) + (f" and {len(assets) - 3} more" if len(assets) > 3 else "")
    return ResourceError(
        "TL-ASSET-OFFLINE",
        f"asset {names}: not in the cache, and {reason}",
        findings=[Finding(f"{a.origin} belongs at {place(a, cache)}", where=a.name) for a in assets],
        fix=f"with a network, run `tlplat assets fetch`; or on a machine that has one {commands}, and put the files "
        f"where the list says, or copy {Path(cache) / 'assets'} from a machine where tlplat has run",
    )


def _embedded(asset: Asset, origin: Embedded) -> Path | None:
    """The file where it lies; None inside a zip archive."""
    try:
        found = importlib.resources.files(origin.package).joinpath(origin.resource)
    except ModuleNotFoundError as error:
        raise ResourceError(
            "TL-ASSET-MISSING",
            f"asset {asset.name!r}: the package {origin.package} is not installed",
            where=str(origin),
            fix=f"install the distribution that brings {origin.package}",
        ) from error
    return found if isinstance(found, Path) else None
