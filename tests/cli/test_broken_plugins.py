"""A broken plugin of each kind, all installed at once: the command line works, and each is blamed by who brought it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from site_of import GOOD_STRATEGY, Site

from tlplat import plugins, probe

X = GOOD_STRATEGY.format(name="x")
TRAINS = """
from dataclasses import dataclass
from typing import ClassVar
from tlplat import hookimpl
from tlplat.edits import Behaviour
from tlplat.plan import Phase, Ref, TransferPlan
from tlplat.strategy import Strategy

class Act(Behaviour):
    name = "act_of_{name}"
    def begin_step(self, model, step, progress):
        {body}

@dataclass(frozen=True)
class Mine(Strategy):
    '''Train all weights, and do something at each step.'''
    name: ClassVar[str] = "{name}"
    family: ClassVar[str] = "parameter"
    paper: ClassVar[str] = "none, 2024"
    learning_rate: float = 1e-3
    def plan(self, task, backbone, measured, budget):
        return TransferPlan(phases=(Phase(("*",), self.learning_rate, behaviours=(Ref("act_of_{name}"),)),))

@hookimpl
def tlplat_register_strategies(): return [Mine]
@hookimpl
def tlplat_register_behaviours(): return [Act]
"""

AT_LOAD = {
    "import": ("raise ImportError('no foo')", "TL-PLUGIN-LOAD", ["no foo"]),
    "exit": ("raise SystemExit(3)", "TL-PLUGIN-LOAD", ["SystemExit: 3"]),
    "segfault": ("import ctypes; ctypes.string_at(0)", "TL-PLUGIN-LOAD", ["signal 11"]),
    "hang": ("import time; time.sleep(600)", "TL-PLUGIN-LOAD", ["more than 5 seconds"]),
    "other": (GOOD_STRATEGY.format(name="other"), "TL-PLUGIN-VERSION", ["tlplat >=99"]),
    "twice": (GOOD_STRATEGY.format(name="twice"), "TL-PLUGIN-DUP", ["dist-second 1.0"]),
    "hook": (
        "from tlplat import hookimpl\n@hookimpl\ndef tlplat_register_domians(): ...",
        "TL-PLUGIN-HOOK",
        ["tlplat_register_domians", "tlplat_register_domains"],
    ),
    "argument": (
        "from tlplat import hookimpl\n@hookimpl\ndef tlplat_register_strategies(extra): ...",
        "TL-PLUGIN-HOOK",
        ["argument"],
    ),
    "garbage": (X.replace("[Mine]", "None"), "TL-PLUGIN-CONTRACT", ["returned", "expected"]),
    "globals": (f"import torch; torch.manual_seed(1)\n{X}", "TL-PLUGIN-CONTRACT", ["changed torch's random seed"]),
}
"""Faults that show when the plugin is loaded: its module, the code of the error, and what that says."""
AT_WORK = {
    "raises": ("if step >= 1: raise RuntimeError('in the midst')", "test_is_better_than_chance"),
    "seeds": ("import torch; torch.set_num_threads(2)", "test_touches_no_global_state_and_no_network"),
}
"""Faults that show when it works: what it does at each step, and the check of the conformance kit that finds it."""


@pytest.fixture
def all_at_once(toy, tmp_path_factory, monkeypatch) -> Site:
    """All of them, a domain, an observer and a command that cannot be imported, and one that only talks too much."""
    site = Site(tmp_path_factory.mktemp("broken") / "site", monkeypatch)
    for name, (code, _, _) in AT_LOAD.items():
        requires = ["tlplat>=99"] if name == "other" else []
        site.add(f"dist-{name}", code, name=name, requires=requires)
    site.add("dist-second", GOOD_STRATEGY.format(name="twice"), name="twice")
    for name, (body, _) in AT_WORK.items():
        site.add(f"dist-{name}", TRAINS.format(name=name, body=body), name=name)
    noise = "import os; print('noise', flush=True); os.write(1, b'noise')\n"
    site.add("dist-noise", noise + TRAINS.format(name="noise", body="print('noise')"), name="noise")
    for group in ("domains", "tasks", "observers", "commands"):
        site.add(f"dist-{group}", "import ctypes; ctypes.string_at(0)", group=group, name=f"broken_{group}")
    plugins._observers.cache_clear()
    yield site
    plugins._observers.cache_clear()


SHORT = ("--seeds", "2", "--jobs", "1", "--threads", "1", "--set", "train.steps=4", "--labels", "40")


def test_listings_work_and_name_what_metadata_show(all_at_once, tlplat):
    for command in (["plugins", "list"], ["strategies"], ["tasks"], ["domains"]):
        outcome = tlplat(*command, "--json")
        assert outcome.code == 0
        rows = outcome.document[command[0]]
        if command == ["plugins", "list"]:
            assert {f"dist-{name}" for name in (*AT_LOAD, *AT_WORK, "second", "noise")} <= {
                row["distribution"] for row in rows
            }
    listed = tlplat("strategies", "--json")
    faults = {row["distribution"]: row["fault"] for row in listed.document["strategies"] if row["fault"]}
    assert faults.keys() == {"dist-other", "dist-twice", "dist-second"}
    assert tlplat("--help").code == 0
    sources = tlplat("sources", "--json")
    assert sources.code == 0
    assert "plugin 'broken_domains' (dist-domains 1.0) died by signal 11" in sources.err


@pytest.mark.slow
def test_a_run_that_asks_for_all_leaves_out_those_that_do_not_load(all_at_once, tlplat):
    """`--strategy auto`, the default, loads all that are installed; what hangs would take its two minutes."""
    shutil.rmtree(all_at_once.folder / "dist_hang-1.0.dist-info")
    outcome = tlplat("run", "--domain", "toy", *SHORT, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    names = {candidate["name"] for candidate in outcome.document["candidates"]}
    assert {"full_ft", "linear_probe", "noise", *AT_WORK} <= names, outcome.err
    assert not names & AT_LOAD.keys()
    warnings = [line for line in outcome.err.splitlines() if line.endswith("; disabled")]
    for name, (_, code, _) in AT_LOAD.items():
        if name == "hang":
            continue
        assert [line for line in warnings if code in line and f"dist-{name} 1.0" in line], (name, warnings)
    assert len(warnings) == len(AT_LOAD)  # without the one that hangs, and with the task


def test_a_run_that_needs_none_of_them_works(all_at_once, tlplat):
    outcome = tlplat("run", "--domain", "toy", "--strategy", "linear_probe,noise", *SHORT, "--json", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert outcome.document["verdict"]["outcome"] in ("helps", "ties", "hurts")
    assert "plugin 'broken_tasks' (dist-tasks 1.0) died by signal 11" in outcome.err
    assert "plugin 'broken_observers' (dist-observers 1.0) died by signal 11" in outcome.err


@pytest.mark.parametrize("name", AT_LOAD)
def test_using_or_checking_one_ends_with_5_and_its_reason(all_at_once, tlplat, name, monkeypatch):
    _, code, said = AT_LOAD[name]
    if name == "hang":
        monkeypatch.setattr(probe, "LIMIT", 5.0)
    used = tlplat("run", "--domain", "toy", "--strategy", name, *SHORT, "--out", "out")
    checked = tlplat("plugins", "check", name, "--timeout", "5" if name == "hang" else "60", "--json")
    assert not Path("out").exists()
    for outcome in (used, checked):
        assert (outcome.code, outcome.error) == (5, code), outcome.err
        missing = [word for word in (f"dist-{name} 1.0", *said) if word not in outcome.err]
        assert not missing, outcome.err


def test_using_one_that_raises_in_its_second_step(all_at_once, tlplat):
    """It is blamed with the epoch; the run can be resumed."""
    outcome = tlplat("run", "--domain", "toy", "--strategy", "raises", *SHORT, "--out", "out")
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-CRASH")
    for word in ("plugin 'raises' (dist-raises 1.0)", "in the midst", "epoch 2", "tlplat resume"):
        assert word in outcome.err
    assert Path("out", "status.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_WORK)
def test_the_kit_finds_what_breaks_at_work(all_at_once, process, name):
    outcome = process("plugins", "check", name, "--json")
    error = outcome.document["error"]
    assert (outcome.code, error["code"]) == (5, "TL-PLUGIN-CONTRACT")
    assert f"plugin '{name}' (dist-{name} 1.0) fails" in error["message"]
    assert AT_WORK[name][1] in [finding["where"] for finding in error["findings"]]


def test_one_that_prints_is_no_fault(all_at_once, tlplat):
    outcome = tlplat("plugins", "check", "noise", "--no-kit", "--json")
    assert outcome.code == 0
    assert [row["result"] for row in outcome.document["plugins"]] == ["ok"]


def test_a_plugin_that_loads_is_tried_once(all_at_once, tlplat, monkeypatch):
    tried = []
    real = probe._probe
    monkeypatch.setattr(probe, "_probe", lambda entry, *more: tried.append(entry.name) or real(entry, *more))
    for _ in range(2):
        assert tlplat("strategies", "noise").code == 0
    assert tried == ["noise"]
    module = all_at_once.folder / "dist_noise_noise.py"
    os.utime(module, ns=(1, 1))
    assert tlplat("strategies", "noise").code == 0
    assert tried == ["noise", "noise"]
