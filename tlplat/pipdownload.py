"""A distribution's archive through ``pip download``: the user's own pip settings (mirror, proxy, links) apply."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from packaging.version import Version

from tlplat import sdistonly
from tlplat.errors import ResourceError

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_ADDRESS = re.compile(r"[^\s'\"(]*://[^\s'\")]*|(?<=host=)['\"][^'\"]*['\"]|(?<=url: )\S+")
_NO_NETWORK = re.compile(
    r"from versions: none|NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|"
    r"Max retries exceeded|[Cc]onnection (?:refused|reset|broken|aborted|error)|RemoteDisconnected|timed out|"
    r"name resolution|HTTP error 5\d\d"
)


class NoNetworkError(Exception):
    """The index cannot be reached, or does not know the distribution: pip does not tell one from the other."""


def command(distribution: str, version: str, sdist: bool = False) -> str:
    """The command as a person would type it."""
    return f"python -m pip download {' '.join(_kind(distribution, sdist))} {distribution}=={version}"


def download(
    distribution: str,
    version: str,
    folder: Path,
    *,
    sdist: bool = False,
    archive_sha256: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Path:
    """The archive, in a new folder below ``folder`` (empty, for pip's temporary files too).

    Args:
        sdist: the source distribution, of which nothing is run (see :mod:`tlplat.sdistonly`); else the wheel.
        archive_sha256: compared by pip before anything of the archive is used; a source distribution needs it.
        progress: told the share done, 0 to 1.

    Raises:
        NoNetworkError
        ResourceError TL-ASSET-HASH, TL-ASSET-PIP, TL-ASSET-DOWNLOAD, TL-IO-ENOSPC.
    """
    scratch, target = folder / "scratch", folder / "archive"
    scratch.mkdir()
    target.mkdir()
    what = [f"{distribution}=={version}"]
    if archive_sha256 is not None:
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{what[0]} --hash=sha256:{archive_sha256}\n", encoding="utf-8")
        what = ["--require-hashes", "--requirement", str(pinned)]
    bar = "raw" if _pip_version() >= Version("24.1") else "off"
    arguments = [*_kind(distribution, sdist), "--ignore-requires-python", "--no-input", "--progress-bar", bar]
    arguments = ["download", *arguments, "--dest", str(target), *what]
    start = ["-m", "pip"]
    if sdist:
        assert archive_sha256 is not None
        start = [sdistonly.__file__, str(target), archive_sha256]
    lines = _run([*start, *arguments], scratch, progress)
    found = sorted(target.iterdir())
    if len(found) != 1:
        raise _failure(distribution, version, lines)
    return found[0]


def _kind(distribution: str, sdist: bool) -> list[str]:
    return ["--no-deps", *(("--no-binary", distribution) if sdist else ("--only-binary", ":all:"))]


def _pip_version() -> Version:
    try:
        return Version(metadata.version("pip"))
    except metadata.PackageNotFoundError:
        raise ResourceError(
            "TL-ASSET-PIP",
            "this environment holds no pip, which fetches assets",
            where=sys.prefix,
            fix=f"install it: `uv pip install pip`, or `{Path(sys.executable).name} -m ensurepip`",
        ) from None


def _run(arguments: list[str], scratch: Path, progress: Callable[[float], None]) -> list[str]:
    """pip's lines; ``-P`` keeps a ``pip.py`` of the working directory out."""
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONIOENCODING": "utf-8"}
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := _PROGRESS.match(line):
                    progress(int(match[1]) / max(1, int(match[2])))
                else:
                    lines.append(line.rstrip())
        except BaseException:
            process.kill()
            raise
    return lines


def _failure(distribution: str, version: str, lines: list[str]) -> Exception:
    """What pip's lines mean. Addresses in them (of a private index, with a password perhaps) are left out."""
    name, text = f"{distribution} {version}", "\n".join(lines)
    said = " / ".join(_ADDRESS.sub("...", line)[:300] for line in lines if line.startswith("ERROR:"))[:600]
    if "No space left on device" in text:
        return ResourceError(
            "TL-IO-ENOSPC", f"No space left on the disk while fetching {name}", fix="free some space, then try again"
        )
    if "DO NOT MATCH THE HASHES" in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return ResourceError(
            "TL-ASSET-HASH",
            f"the archive of {name} is not the one that was pinned",
            found=got[1] if got else None,
            fix="update the plugin that names it; if it is current, tell its author",
        )
    if _NO_NETWORK.search(text):
        return NoNetworkError(said)
    return ResourceError(
        "TL-ASSET-DOWNLOAD",
        f"pip could not download {name}: {said or 'it said nothing'}",
        fix=f"try `{command(distribution, version)}`, and mend what it complains about",
    )
