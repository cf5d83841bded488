"""tlplat as a user starts it: in a process of its own, for tests of plugins and commands on the real cache."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlplat.cache import cache_root

REAL_CACHE = cache_root()
"""Where assets may already lie; fixed at import, before any test moves the cache."""


SAID = ("tlplat: warning", "warning: ", "note: ")
"""Lines that may come before an error."""
FIRST_LINE = re.compile(r"^tlplat: error \[TL-[A-Z0-9-]+\]: .+")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        assert found["schema_version"] == 1
        return found

    @property
    def error(self) -> str:
        """The error's code on stderr, or an empty string."""
        found = re.search(r"^tlplat: error \[([A-Z0-9-]+)\]", self.err, re.MULTILINE)
        return found[1] if found else ""


def checked(outcome: Outcome) -> Outcome:
    """What holds for every command: no traceback; an error has its shape and a fix; success prints no error."""
    assert "Traceback" not in outcome.err, outcome.err
    if outcome.code == 0:
        assert not outcome.error, outcome.err
    elif outcome.code != 141:
        lines = [line for line in outcome.err.splitlines() if not line.startswith(SAID)]
        assert FIRST_LINE.match(lines[0]), outcome.err
        assert any(line.startswith("fix: ") for line in lines), outcome.err
    return outcome


def tlplat(*arguments: str, cache: Path = REAL_CACHE, cwd: Path | None = None, **env: str) -> Outcome:
    """Run ``tlplat *arguments``; native libraries are built once for all caches."""
    _lend_builds(cache)
    done = subprocess.run(
        [sys.executable, "-m", "tlplat", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
        check=False,
        env={**os.environ, "TLPLAT_CACHE_DIR": str(cache), **env},
    )
    return checked(Outcome(done.returncode, done.stdout, done.stderr))


def _lend_builds(cache: Path) -> None:
    """Let ``cache`` hold the libraries of the real one: each build takes some 20 s of a compiler."""
    mine, real = cache / "builds", REAL_CACHE / "builds"
    if cache != REAL_CACHE and not mine.exists():
        real.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        mine.symlink_to(real, target_is_directory=True)
