"""Three packages of a stranger's, in a fresh environment: built, installed, checked, run, and gone without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from commandline import REAL_CACHE

HERE = Path(__file__).parent / "third_party"
PACKAGES = {"tlplat-freezeout": "strategies", "tlplat-speakers": "domains", "tlplat-counts": "tasks"}
QUIET = ["-q", "--disable-pip-version-check"]

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]


class World:
    """A virtual environment that sees what this one has installed, tlplat among it, and owns the rest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "venv"
        venv.create(self.folder, with_pip=True)
        self.python = str(self.folder / "bin" / "python")
        (site,) = (self.folder / "lib").glob("python*/site-packages")
        seen = sysconfig.get_path("purelib")
        (site / "parent.pth").write_text(f"import site; site.addsitedir({seen!r})\n", encoding="utf-8")

    def run(self, *command: str, cwd: Path | None = None, code: int = 0) -> str:
        """What the command prints on standard output; it must end with ``code``."""
        env = {**os.environ, "TLPLAT_CACHE_DIR": str(REAL_CACHE), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [self.python, "-m", *command], cwd=cwd or self.folder.parent, env=env, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def files(self) -> set[str]:
        """All that is installed, compiled caches left aside."""
        found = (p for p in self.folder.rglob("*") if p.is_file() and p.suffix != ".pyc")
        return {str(p.relative_to(self.folder)) for p in found}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def before(world) -> set[str]:
    return world.files()


@pytest.fixture(scope="module")
def installed(world, before) -> World:
    """The three packages, built to wheels and installed from these."""
    wheels = world.folder.parent / "wheels"
    for name in PACKAGES:
        source = world.folder.parent / "sources" / name
        source.mkdir(parents=True)
        for path in (HERE / name).glob("*.*"):
            (source / path.name).write_bytes(path.read_bytes())
        build = [sys.executable, "-m", "pip", "wheel", *QUIET, "--no-deps", "--no-build-isolation", "-w", str(wheels)]
        subprocess.run([*build, str(source)], check=True, capture_output=True)
    world.run("pip", "install", *QUIET, "--no-index", "--no-deps", *map(str, sorted(wheels.glob("*.whl"))))
    assert world.files() > before
    return world


def names(world: World, listing: str) -> set[str]:
    return {row["name"] for row in json.loads(world.run("tlplat", listing, "--json"))[listing]}


@pytest.mark.parametrize("package", PACKAGES)
def test_it_is_listed_and_passes_the_kit(installed, package):
    name, listing = package.removeprefix("tlplat-"), PACKAGES[package]
    assert name in names(installed, listing)
    assert package in installed.run("tlplat", listing, name)
    tests = installed.folder.parent / "sources" / package / "test_conformance.py"
    installed.run("pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tests), cwd=tests.parent)


def test_a_run_and_no_trace(installed, before):
    """A run with the stranger's domain and strategy; then all is uninstalled, and the run says what it lacks."""
    short = ["--strategy", "freezeout,full_ft", "--seeds", "2", "--jobs", "1", "--threads", "1", "--budget", "trials=8"]
    out = installed.folder.parent / "run"
    report: dict[str, Any] = json.loads(
        installed.run("tlplat", "run", "--domain", "speakers", *short, "--out", str(out), "--json")
    )
    assert report["verdict"]["outcome"] in ("helps", "ties", "hurts")
    assert {"freezeout", "full_ft", "scratch"} <= {c["strategy"] for c in report["candidates"]}
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert scores["freezeout"] > 0.5
    rows = out.parent / "new.ts"
    rows.write_text("\n".join(":".join([",".join(["0.5"] * 25)] * 12) for _ in range(2)), encoding="utf-8")
    assert len(json.loads(installed.run("tlplat", "predict", str(out), str(rows), "--json"))["rows"]) == 2

    installed.run("pip", "uninstall", *QUIET, "-y", *PACKAGES)
    assert installed.files() == before
    for package, listing in PACKAGES.items():
        assert package.removeprefix("tlplat-") not in names(installed, listing)
    gone = installed.run("tlplat", "predict", str(out), str(rows), "--json", code=5)
    error = json.loads(gone)["error"]
    assert error["code"] == "TL-PLUGIN-MISSING"
    assert "tlplat-speakers" in json.dumps(error)
