"""Fixtures of the core's tests: a registry with the toy domain, a cache of its own, and an installed toy plugin."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory) -> Path:
    """A site folder where the kit's toy domain is an installed distribution with an entry point."""
    site = tmp_path_factory.mktemp("site")
    info = site / "tlplat_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tlplat-toy\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[tlplat.domains]\ntoy = tlplat.testing.toy\n", encoding="utf-8")
    return site


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """One cache for the session, so that the toy source is pretrained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy(toy_site, shared_cache, monkeypatch):
    """The toy plugin importable and discoverable in this process and its children; returns its module."""
    from tlplat.ops import extension

    extension.load()  # where it must be built, then in the user's own cache, not once more in each session's
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(shared_cache))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(toy_site), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(str(toy_site))
    importlib.invalidate_caches()
    return importlib.import_module("tlplat.testing.toy")


@pytest.fixture
def registry(toy):
    """The toy domain, all built-in strategies and tasks."""
    from tlplat import plugins

    made = plugins.load("domains", ["toy"])
    plugins.load("strategies", None, made)
    return plugins.load("tasks", None, made)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder for little distributions, on the path of this process and its children."""
    from site_of import Site

    return Site(tmp_path / "site", monkeypatch)


@pytest.fixture(autouse=True)
def _threads():
    import torch

    torch.set_num_threads(1)
    sys.stdout.flush()


@pytest.fixture
def small_disk(tmp_path):
    """Runs Python code with a file system of 1 MB as its argument; returns what it prints."""
    import shutil
    import subprocess

    mount = 'mount -t tmpfs -o size=1m none "$1" || exit 77; exec "$2" -c "$3" "$1"'

    def run(code: str) -> str:
        if shutil.which("unshare") is None:
            pytest.skip("there is no unshare")
        root = () if os.geteuid() == 0 else ("--map-root-user",)
        command = ["unshare", *root, "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 77 or done.stderr.startswith("unshare"):
            pytest.skip("nothing can be mounted here")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A folder that pip takes distributions from, and nothing else."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


@pytest.fixture
def no_pip(monkeypatch):
    """Fails the test where pip is run."""

    def fail(*args, **more):
        pytest.fail("pip was run")

    monkeypatch.setattr("tlplat.pipdownload._run", fail)


@pytest.fixture
def cache(tmp_path):
    """An empty cache."""
    return tmp_path / "cache"
