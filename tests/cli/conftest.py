"""The CLI as its users meet it: in this process where it is quick, in one of its own where the process matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commandline import Outcome, checked


@pytest.fixture
def tlplat(capfd, tmp_path, monkeypatch):
    """Run a command in this process, in an empty working folder: ``tlplat("run", "--seeds", "3") -> Outcome``."""
    from tlplat.cli.entry import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        return checked(Outcome(code, out, err))

    return run


@pytest.fixture
def process(tmp_path):
    """Run a command in a process of its own: ``process("report", "x", env={...}) -> Outcome``."""

    def run(*arguments: str | bytes, env: dict[str, str] | None = None, **options: Any) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "tlplat", *arguments],
            env={**os.environ, **(env or {})},
            cwd=options.pop("cwd", tmp_path),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
            **options,
        )
        out = (done.stdout or b"").decode("utf-8", "replace")
        return checked(Outcome(done.returncode, out, done.stderr.decode("utf-8", "replace")))

    return run


@pytest.fixture
def write(tmp_path):
    """Write a configuration file; returns its path as text."""

    def make(content: str | bytes, name: str = "c.toml") -> str:
        path: Path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return make
