"""A run of one domain imports no other: a broken or slow plugin costs nobody else anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tlplat.installed import discover

DOMAINS = {e.name: e.module for e in discover() if e.group == "domains" and not e.built_in}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_a_full_run_loads_one_domain(name) -> None:
    others = sorted(set(DOMAINS.values()) - {DOMAINS[name]})
    code = f"""
import sys
from tlplat.config import RunConfig
from tlplat.stage import load_registry
registry = load_registry(RunConfig(domain={name!r}))
assert registry.names("domains") == [{name!r}]
assert {DOMAINS[name]!r} in sys.modules
print([m for m in {others!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
