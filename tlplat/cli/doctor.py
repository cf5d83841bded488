"""``tlplat doctor``."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit, json_option

EPILOG = """\b
Examples:
  tlplat doctor
  tlplat doctor --json > doctor.json
"""
LOW_SPACE = 1_000_000_000
"""Bytes: what the demos' assets and caches may come to."""


@click.command("doctor", short_help=COMMANDS["doctor"], epilog=EPILOG)
@json_option
def command(as_json: bool) -> None:
    """Show what a run depends on here: versions, processor, cache, plugins, and each one's faults."""
    checks = [*_versions(), *_torch(), *_extension(), _cache(), _pip(), *_plugins()]
    emit({"checks": checks}, as_json, ("check", "state", "value"), checks)


def _row(check: str, value: str, state: str = "ok", **facts: Any) -> dict[str, Any]:
    """``state``: ok, warning (a run may work) or fault."""
    return {"check": check, "state": state, "value": value, **facts}


def _versions() -> Iterator[dict[str, Any]]:
    from tlplat import __version__

    yield _row("tlplat", f"{__version__} in {Path(__file__).parents[1]}", version=__version__)
    yield _row("python", f"{platform.python_version()} ({sys.executable})", version=platform.python_version())
    yield _row("platform", platform.platform())


def _torch() -> Iterator[dict[str, Any]]:
    try:
        import torch
    except Exception as error:  # a broken torch is what doctor is for
        yield _row("torch", f"{type(error).__name__}: {error}", "fault")
        return
    yield _row("torch", torch.__version__, version=torch.__version__)
    yield _row("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors", threads=torch.get_num_threads())
    yield _row("instruction set", torch.backends.cpu.get_cpu_capability())
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    yield _row("cuda", cuda)


def _extension() -> Iterator[dict[str, Any]]:
    try:
        facts = dict(importlib.import_module("tlplat.ops").build_info())
    except Exception as error:
        yield _row("extension", f"{type(error).__name__}: {error}", "fault")
        return
    cuda = facts.pop("cuda")
    yield _row("extension", ", ".join(f"{k}: {v}" for k, v in facts.items()), build=facts)
    yield _row("cuda kernels", ", ".join(f"{k}: {v}" for k, v in cuda.items()), build=cuda)


def _cache() -> dict[str, Any]:
    from tlplat.cache import cache_root

    root = cache_root().absolute()
    there = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(there).free
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    state = "ok" if writable and free >= LOW_SPACE else "warning"
    said = f"{root}, {free / 1e9:.1f} GB free" + ("" if writable else f", {there} is not writable: runs go on uncached")
    return _row("cache", said, state, path=str(root), free_bytes=free, writable=writable)


def _pip() -> dict[str, Any]:
    """Assets on the package index are fetched by pip."""
    ran = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        return _row("pip", "missing: assets cannot be fetched; install it with `uv pip install pip`", "fault")
    return _row("pip", " ".join(ran.stdout.split()[:2]))


def _plugins() -> Iterator[dict[str, Any]]:
    from tlplat.installed import nothing_installed
    from tlplat.probe import probe_all

    probes = probe_all(None, timeout=60.0)
    for entry, fault in probes:
        said = f"disabled: [{fault.code}] {fault.message}" if fault else entry.owner
        yield _row(f"plugin {entry.name}", said, "fault" if fault else "ok", group=entry.group, owner=entry.owner)
    if not any(entry.group == "domains" and not entry.built_in for entry, _ in probes):
        yield _row("domains", nothing_installed("domains"), "warning")
