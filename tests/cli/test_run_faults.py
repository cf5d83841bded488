"""A run under faults: memory that runs out, numbers that explode, checkpoints and caches that were damaged."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_runner import results

from tlplat.storage import read_manifest, write_manifest

QUICK = (
    *("run", "--domain", "toy", "--strategy", "full_ft", "--seeds", "2", "--jobs", "1", "--threads", "1"),
    *("--set", "train.learning_rate=3e-3"),
)


def test_a_rate_that_explodes(toy, process, tmp_path):
    """Exit 7, named by step; no weights that are not finite are left anywhere."""
    outcome = process(*QUICK[:-1], "train.learning_rate=1e30", "--set", "train.steps=40", "--out", "run", "--json")
    error = outcome.document["error"]
    assert (outcome.code, error["code"]) == (7, "TL-NUM-NONFINITE")
    for word in ("step", "loss", "last finite checkpoint"):
        assert word in outcome.err
    assert not list((tmp_path / "run").rglob("checkpoint/**/*.safetensors"))
    assert not (tmp_path / "run" / "model").exists()


WIDE = """
import dataclasses
import torch
from tlplat import hookimpl
from tlplat.plan import Ref
from tlplat.testing.toy import Toy, ToyNet


class WideNet(ToyNet):
    name = "wide_net"

    def embed(self, batch):
        scratch = torch.empty(len(batch), {megabytes} << 18)
        return batch.float() + scratch[:, :1].zero_()


class Wide(Toy):
    '''Rows that take {megabytes} MB each on their way through the network.'''

    name = "wide"

    def source(self, name, options, context):
        made = super().source(name, options, context)
        return dataclasses.replace(made, base=Ref("wide_net", made.base.args))


@hookimpl
def tlplat_register_domains():
    return [Wide]


@hookimpl
def tlplat_register_backbones():
    return [WideNet, ToyNet]
"""


def short_of_memory() -> None:
    """Address space for torch and about 1 GB more."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


@pytest.mark.slow
@pytest.mark.parametrize(("megabytes", "code"), [(100, 0), (4000, 6)])
def test_memory_that_runs_out(toy, site, process, megabytes, code):
    """A batch is halved until it fits, and the effective batch kept; a row that does not fit is exit 6."""
    site.add("tlplat-wide", WIDE.replace("{megabytes}", str(megabytes)), group="domains", name="wide")
    command = [*QUICK, "--set", "train.steps=4", "--labels", "40", "--json", "--out", "run"]
    command[2] = "wide"
    outcome = process(*command, preexec_fn=short_of_memory)
    assert outcome.code == code, outcome.err
    if code:
        assert outcome.document["error"]["code"] == "TL-OOM"
        assert "rows does not fit into memory" in outcome.err
    else:
        assert "rows computed at once go from batch 30 ->" in outcome.err
        assert "the effective batch stays 30" in outcome.err


CHECKPOINTS = ("--set", "train.steps=60", "--set", "train.checkpoint_steps=6")


@pytest.fixture
def killed(toy, tmp_path) -> Path:
    """A run that was killed in the middle of a fit, with two checkpoints of it."""
    for attempt in range(20):
        run = tmp_path / f"killed-{attempt}"
        command = [sys.executable, "-m", "tlplat", *QUICK, *CHECKPOINTS, "--out", str(run)]
        child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and len(list(run.rglob("step-*/manifest.json"))) < 2:
            time.sleep(0.002)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        if len(list(run.rglob("step-*/manifest.json"))) >= 2:
            return run
    raise AssertionError("never killed between two checkpoints and the end of a fit")


def newest(run: Path) -> Path:
    """The newest checkpoint of a killed run."""
    found = sorted(run.rglob("step-*/manifest.json"))
    assert found
    return found[-1].parent


@pytest.mark.slow
def test_damaged_checkpoints(killed, process, tmp_path):
    """A flipped byte: the one before is used, and it is said; a newer format: exit 6 and nothing changes."""
    path = newest(killed) / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    outcome = process("resume", str(killed))
    assert outcome.code == 0, outcome.err
    assert "checksum" in outcome.err
    assert "previous checkpoint" in outcome.err
    whole = process(*QUICK, *CHECKPOINTS, "--out", "whole")
    assert whole.code == 0, whole.err
    assert results(killed) == results(tmp_path / "whole")
    assert not [p for p in killed.rglob("*") if ".tmp" in p.name]


@pytest.mark.slow
def test_a_checkpoint_of_a_newer_version(killed, process):
    folder = newest(killed)
    write_manifest(folder, {**read_manifest(folder), "checkpoint_format": 2})
    before = {p: p.read_bytes() for p in killed.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".json")}
    outcome = process("resume", str(killed), "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (6, "TL-CKPT-VERSION")
    for word in ("format", "this version"):
        assert word in outcome.err
    same = {p: p.read_bytes() for p in before}
    changed = {p.name for p in before if same[p] != before[p]}
    assert changed <= {"status.json"}


def features(cache: Path) -> list[Path]:
    return sorted((cache / "features").rglob("*.safetensors"))


@pytest.mark.slow
def test_a_poisoned_cache_gives_what_a_cold_one_gives(toy, process, tmp_path):
    command = ["run", "--domain", "toy", "--strategy", "linear_probe", "--seeds", "2", "--jobs", "1", "--threads", "1"]
    command += ["--set", "train.steps=5", "--set", "train.learning_rate=1e-3"]
    env = {"TLPLAT_CACHE_DIR": str(tmp_path / "cache"), "TLPLAT_NO_EXT": "1"}
    assert process(*command, "--out", "cold", env=env).code == 0
    entries = features(tmp_path / "cache")
    assert entries
    for path in entries:
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
    outcome = process(*command, "--out", "again", env=env)
    assert outcome.code == 0
    assert "cache entry" in outcome.err
    assert "recomputed" in outcome.err
    assert results(tmp_path / "again") == results(tmp_path / "cold")


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(toy, process, tmp_path):
    """The run ends without it, says so once, and its result is the same."""
    command = [*QUICK, "--set", "train.steps=5", "--json"]
    good = process(*command, "--out", "good", env={"TLPLAT_NO_EXT": "1"})
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be", encoding="utf-8")
    outcome = process(*command, "--out", "bad", env={"TLPLAT_CACHE_DIR": str(blocked), "TLPLAT_NO_EXT": "1"})
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("cache disabled") == 1
    scores = [[c["seeds"] for c in json.loads(o.out)["candidates"]] for o in (good, outcome)]
    assert scores[0] == scores[1]
