"""Runs the conformance kit over an installed plugin, in a process of its own and within a time limit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tlplat.errors import Finding, PluginError
from tlplat.installed import PluginEntry

SUITES = ("strategies", "domains", "tasks")
"""Groups that a suite exists for."""


@dataclass(frozen=True)
class Conformance:
    """What the kit found.

    Attributes:
        passed, skipped: how many checks. failed: name and first line of what went wrong, for each that failed.
    """

    passed: int
    skipped: int
    failed: tuple[tuple[str, str], ...]


def why_no_kit(entry: PluginEntry) -> str | None:
    """Why the kit cannot run over the plugin; None where it can."""
    if entry.group not in SUITES:
        return f"there is no suite for {entry.group}"
    if importlib.util.find_spec("pytest") is None:
        return "pytest is not installed: pip install 'tlplat[test]'"
    return None


def check_conformance(entry: PluginEntry, timeout: float) -> Conformance:
    """Run the suite of the plugin's group over it.

    Args:
        timeout: seconds for all checks together.

    Raises:
        PluginError TL-PLUGIN-LOAD: the process died or took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "--pyargs", "tlplat.testing.installed_plugin"]
        command += ["-q", "-p", "tlplat.testing.pytest_plugin", "-p", "no:cacheprovider", "-c", os.devnull]
        command += [f"--rootdir={folder}", f"--junitxml={report}"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        env |= {"TLPLAT_KIT_PLUGIN": f"{entry.group}:{entry.name}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        try:
            done = subprocess.run(command, capture_output=True, cwd=folder, env=env, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise _ended(entry, f"took more than {timeout:g} seconds", "") from None
        if not report.exists():
            said = done.stdout.decode("utf-8", "replace").strip().splitlines()
            raise _ended(entry, f"ended with code {done.returncode}", said[-1] if said else "")
        return _read(report)


def nonconforming(entry: PluginEntry, found: Conformance) -> PluginError | None:
    """The error that names each check which failed; None where none did."""
    if not found.failed:
        return None
    count = len(found.failed)
    return PluginError(
        "TL-PLUGIN-CONTRACT",
        f"{entry} fails {count} of {count + found.passed} checks of the conformance kit",
        findings=[Finding(message, check) for check, message in found.failed],
        fix=f"report this to the authors of {entry.distribution}, or leave it out with TLPLAT_PLUGINS",
    )


def _ended(entry: PluginEntry, how: str, said: str) -> PluginError:
    return PluginError(
        "TL-PLUGIN-LOAD",
        f"{entry} {how} under the conformance kit",
        found=said or None,
        fix=f"repair or upgrade it (`pip install --upgrade {entry.distribution}`), or uninstall it",
    )


def _read(report: Path) -> Conformance:
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = tuple(
        (str(case.get("name")), str(fault.get("message") or fault.tag).splitlines()[0])
        for case in cases
        for fault in (*case.findall("failure"), *case.findall("error"))[:1]
    )
    skipped = sum(case.find("skipped") is not None for case in cases)
    return Conformance(len(cases) - len(failed) - skipped, skipped, failed)
