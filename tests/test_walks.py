"""Each walk of docs/walks is walked: its programs and commands run as they stand, and print what it shows.

Blocks with the word ``walk`` count. ``python`` is a program of its own, which with the word ``alone`` finds no tlplat;
``console`` holds commands of a shell, each with its output; ``text`` is what the program before it prints. ``...``
stands for anything, and a number with a point may be off by two hundredths, absolute or relative: processors round
otherwise.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commandline import REAL_CACHE
from docpages import WALKS, blocks

FETCHED = {"genomics", "nlp", "vision"}
"""Walks whose sources are fetched once."""
NUMBER = r"-?\d+\.\d+(?:e-\d+)?"
TOKEN = re.compile(rf"(?P<any>\.\.\.)|(?P<number>{NUMBER})|(?P<space>\s+)|(?P<text>.)", re.DOTALL)
ALONE = "import sys; sys.modules['tlplat'] = None; exec(compile(sys.stdin.read(), 'walk', 'exec'))"
TOLERANCE = 0.02


def same(shown: str, printed: str) -> bool:
    """Whether ``printed`` is what a page shows."""
    pattern, wanted = "", []
    for token in TOKEN.finditer(shown.strip()):
        if token.lastgroup == "number":
            wanted.append(float(token[0]))
        pattern += {"any": ".*?", "number": f"({NUMBER})", "space": r"\s+"}.get(token.lastgroup, re.escape(token[0]))
    found = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    if found is None:
        return False
    pairs = zip(wanted, map(float, found.groups()), strict=True)
    return all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in pairs)


def test_what_is_the_same():
    assert same("a  0.81 [0.1, 0.2]\n...\nmodel: .../run", "a 0.823 [0.1, 0.2]\nb 0.7\nmodel: /x/y/run\n")
    assert not same("a 0.81", "a 0.86")
    assert not same("a 0.81", "b 0.81")
    assert not same("a", "a b")


def walked(page: Path) -> pytest.param:
    return pytest.param(page, id=page.stem, marks=[pytest.mark.network] if page.stem in FETCHED else [])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [walked(page) for page in WALKS])
def test_walk(page, tmp_path):
    if find_spec(f"tlplat_{page.stem}") is None and find_spec(f"tlplat.{page.stem}") is None:
        pytest.skip(f"tlplat-{page.stem} is not installed")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "TLPLAT_CACHE_DIR": str(REAL_CACHE), "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}

    def printed(*command: str, given: str = "") -> str:
        done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
        assert done.returncode == 0, f"{given or command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    said, steps = "", 0
    for block in (b for b in blocks(page) if "walk" in b.words):
        if block.language == "python":
            said = printed(sys.executable, *(("-c", ALONE) if "alone" in block.words else ("-",)), given=block.text)
        elif block.language == "text":
            assert same(block.text, said), said
        else:
            for command, shown in block.shown():
                said = printed("sh", "-c", command)
                assert same(shown, said), f"$ {command}\n{said}"
                steps += command.startswith("tlplat ")
    assert steps >= 4, "check-data, run, predict, export"
    assert any("alone" in b.words for b in blocks(page)), "the exported file is used without tlplat"
