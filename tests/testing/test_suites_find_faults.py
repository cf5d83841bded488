"""Each check of the strategies' suite finds the fault that it is there for: broken strategies, one for each."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET

import pytest
from site_of import Site

HEAD = """
import dataclasses, os, random, socket
from dataclasses import dataclass
from typing import Any, ClassVar
import torch
from torch import nn
from tlplat import hookimpl
from tlplat.edits import Behaviour, Edit
from tlplat.plan import Phase, Ref, TransferPlan
from tlplat.strategy import Strategy

@dataclass(frozen=True)
class Base(Strategy):
    '''Train all weights of the source.'''
    name: ClassVar[str] = "x"
    family: ClassVar[str] = "parameter"
    paper: ClassVar[str] = "none, 2024"
    learning_rate: float = 3e-3
    def plan(self, task, backbone, measured, budget):
        return TransferPlan(phases=(Phase(("*",), self.learning_rate),))

class Act(Behaviour):
    name = "act"

class Change(Edit):
    name = "change"
    @staticmethod
    def build(model, args): pass

@hookimpl
def tlplat_register_strategies(): return [X]
@hookimpl
def tlplat_register_behaviours(): return [Act]
@hookimpl
def tlplat_register_edits(): return [Change]
"""
ACTS = "TransferPlan(phases=(Phase(('*',), 3e-3, behaviours=(Ref('act'),)),))"
TOP = "TransferPlan(phases=(Phase(('head.*',), 3e-3, behaviours=(Ref('act'),)),))"


def planned(plan: str, more: str = "") -> str:
    return f"""
{textwrap.dedent(more)}
class X(Base):
    '''Train all weights of the source.'''
    def plan(self, task, backbone, measured, budget):
        return {plan}
"""


FAULTS = {
    "impure": (planned("TransferPlan(phases=(Phase(('*',), random.random()),))"), "test_plan_is_pure_and_serialisable"),
    "not json": (
        planned("TransferPlan(phases=(Phase(('*',), 1e-3, behaviours=(Ref('act', {'x': {1}}),)),))"),
        "test_plan_is_pure_and_serialisable",
    ),
    "dear": (
        planned("TransferPlan(phases=(Phase(('*',), 1e-3), Phase(('*',), 1e-3)))"),
        "test_keeps_to_the_budget",
    ),
    "moves what is frozen": (
        planned(TOP, """
        def on_step(self, model, progress):
            with torch.no_grad():
                next(iter(model.backbone.parameters())).add_(0.01)
        Act.on_step = on_step
        """),
        "test_trains_something_and_leaves_what_is_frozen",
    ),
    "trains nothing": (
        planned("TransferPlan(phases=(Phase(('*',), 0.0),))"),
        "test_trains_something_and_leaves_what_is_frozen",
    ),
    "learns the opposite": (
        planned(ACTS, "Act.on_batch = lambda self, batch, targets, generator: (batch, (targets + 1) % 2)"),
        "test_is_better_than_chance",
    ),
    "random": (
        planned(ACTS, "Act.loss = lambda self, model, batch, outputs: random.random() * outputs.square().mean()"),
        "test_same_seed_same_result",
    ),
    "forgets its state": (
        planned(ACTS, """
        def setup(self, model, generator): self.count = 0
        def on_step(self, model, progress): self.count += 1
        Act.setup, Act.on_step = setup, on_step
        Act.loss = lambda self, model, batch, outputs: 0.01 * self.count * outputs.square().mean()
        """),
        "test_resumes_bitwise",
    ),
    "is not rebuilt": (
        planned("TransferPlan(edits=(Ref('change'),), phases=(Phase(('*',), 3e-3),))", """
        def init(model, args, generator):
            model.head = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), model.head)
        Change.init = staticmethod(init)
        """),
        "test_saved_loaded_and_in_a_fresh_process",
    ),
    "mixes rows": (
        planned("TransferPlan(edits=(Ref('change'),), phases=(Phase(('*',), 3e-3),))", """
        class Centre(nn.Module):
            def forward(self, z): return z - z.mean(dim=0)
        def build(model, args):
            model.head = nn.Sequential(Centre(), model.head)
        Change.build = staticmethod(build)
        """),
        "test_a_row_alone_is_a_row_among_others",
    ),
    "sets a seed": (
        planned("(torch.manual_seed(1), TransferPlan(phases=(Phase(('*',), 3e-3),)))[1]"),
        "test_touches_no_global_state_and_no_network",
    ),
    "changes folder": (
        planned("(os.chdir('/'), TransferPlan(phases=(Phase(('*',), 3e-3),)))[1]"),
        "test_touches_no_global_state_and_no_network",
    ),
    "calls home": (
        planned(ACTS, """
        def setup(self, model, generator):
            try:
                socket.create_connection(('192.0.2.1', 80), timeout=0.01)
            except OSError:
                pass
        Act.setup = setup
        """),
        "test_touches_no_global_state_and_no_network",
    ),
    "one task only": (
        planned("TransferPlan(phases=(Phase(('backbone.blocks.dense2.*',), 3e-3),))"),
        "test_works_or_says_why_not[rings-tokens]",
    ),
    "says nothing": (planned(ACTS).replace("Train all weights of the source.", "x"), "test_says_what_it_is"),
    "tries one twice": (
        planned(ACTS) + "    def grid(self): return [self, self]\n",
        "test_tries_settings_of_its_own_kind",
    ),
}  # fmt: skip

SUITE = """
import pytest
from tlplat import plugins
from tlplat.testing import StrategySuite

class Test_{name}(StrategySuite):
    @pytest.fixture
    def strategy(self):
        return plugins.load("strategies", ["{name}"]).get("strategies", "{name}")()
"""
FROZEN = "test_trains_something_and_leaves_what_is_frozen"
EXPECTED = {
    "expected": (planned("TransferPlan(phases=(Phase(('*',), 0.0),))"), {FROZEN: "its rate is 0"}),
    "unexpected": (planned(ACTS), {FROZEN: "no reason"}),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> dict[str, str]:
    """What became of the one check of each strategy, in one session of pytest over all of them."""
    folder = tmp_path_factory.mktemp("faults")
    text, asked = "", []
    with pytest.MonkeyPatch.context() as patch:
        site = Site(folder / "site", patch)
        for number, (code, check) in enumerate(FAULTS.values()):
            name = f"x{number}"
            site.add(f"dist-{name}", named(code, name), name=name)
            text += SUITE.format(name=name)
            asked.append(f"test_x.py::Test_{name}::{check}")
        for name, (code, expected) in EXPECTED.items():
            site.add(f"dist-{name}", named(code, name), name=name)
            text += SUITE.format(name=name) + f"    expected_failures = {expected!r}\n"
            asked.append(f"test_x.py::Test_{name}::{FROZEN}")
        (folder / "test_x.py").write_text(text, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--junitxml=x.xml",
        ]
        done = subprocess.run([*command, *asked], cwd=folder, capture_output=True, text=True, check=False)
    assert (folder / "x.xml").exists(), done.stdout + done.stderr
    return {c.get("classname"): outcome(c) for c in ET.parse(folder / "x.xml").getroot().iter("testcase")}


def named(code: str, name: str) -> str:
    """The module of a strategy, its edit and behaviour, under names of its own."""
    text = f"{HEAD}\n{textwrap.dedent(code)}"
    for kind in ("x", "act", "change"):
        text = text.replace(f'"{kind}"', f'"{kind}_{name}"' if kind != "x" else f'"{name}"')
        text = text.replace(f"Ref('{kind}'", f"Ref('{kind}_{name}'")
    return text


def outcome(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=list(FAULTS))
def test_a_fault_is_found(checked, number):
    assert checked[f"test_x.Test_x{number}"] == "failure"


@pytest.mark.slow
def test_an_expected_failure_must_fail(checked):
    assert checked["test_x.Test_expected"] == "skipped"
    assert checked["test_x.Test_unexpected"] == "failure"
