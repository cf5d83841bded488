"""tlplat as a user starts it: in a process of its own, for tests of plugins and commands on the real cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlplat.cache import cache_root

REAL_CACHE = cache_root()
"""Where assets may already lie; fixed at import, before any test moves the cache."""


@dataclass(frozen=True)
class Outcome:
    """What the process left: exit code, standard output and error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        return dict(json.loads(self.out))


def tlplat(*arguments: str, cache: Path = REAL_CACHE, cwd: Path | None = None, **env: str) -> Outcome:
    """Run ``tlplat *arguments``; a traceback is never an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "tlplat", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
        check=False,
        env={**os.environ, "TLPLAT_CACHE_DIR": str(cache), **env},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)
