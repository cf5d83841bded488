"""`tlplat plugins new`: what it writes installs, passes its tests and shows in the listings, unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from tlplat import __version__
from tlplat.errors import UsageError

pytest.importorskip("copier")

from tlplat.scaffold import accepted, new_plugin

KINDS = ["strategy", "domain", "task"]


def test_accepted_versions_hold_this_one():
    assert SpecifierSet(accepted()).contains(__version__, prereleases=True)
    assert not SpecifierSet(accepted()).contains("99.0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete(tmp_path, kind):
    folder = new_plugin(kind, "my_own", tmp_path)
    assert folder == tmp_path / "tlplat-my-own"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    names = {"pyproject.toml", "README.md", "tlplat_my_own.py", "tests/test_my_own.py", ".github/workflows/test.yml"}
    assert files == {*names, ".gitignore"}
    for path in folder.rglob("*"):
        assert "{{" not in path.name
        assert path.is_dir() or "{%" not in path.read_text(encoding="utf-8").replace("${{", "")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (points,) = project["entry-points"].values()
    assert points == {"my_own": "tlplat_my_own"}
    lines = (folder / "tlplat_my_own.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 60, "one screen"
    with pytest.raises(UsageError, match="exists already"):
        new_plugin(kind, "my_own", tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "a-b", "1st", "class", "full_ft", "../x"])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(UsageError):
        new_plugin("strategy", name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_it_installs_passes_its_tests_and_is_listed(tmp_path, kind):
    """Installed by pip into a folder of its own on the path, then its tests run and the CLI lists it."""
    folder = new_plugin(kind, "my_own", tmp_path)
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", *alone, "--target", str(target), str(folder)]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    env = {**os.environ, "PYTHONPATH": str(target), "TLPLAT_CACHE_DIR": str(tmp_path / "cache"), "TLPLAT_NO_EXT": "1"}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "tests"]
    done = subprocess.run(tests, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    listing = {"strategy": "strategies", "domain": "domains", "task": "tasks"}[kind]
    listed = [sys.executable, "-m", "tlplat", listing, "my_own"]
    shown = subprocess.run(listed, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "my_own" in shown.stdout
