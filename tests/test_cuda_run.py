"""Whole runs on a GPU, and what they leave for a machine without one: `pytest -m cuda`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tlplat.config import RunConfig
from tlplat.prediction import predict
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry
from tlplat.storage import read_tensors

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

FAMILIES = {
    "head": ("linear_probe", "prototype", "head2toe"),
    "whole": ("full_ft", "lp_ft", "l2sp", "discriminative", "surgical", "delta", "bss", "wise_ft", "greedy_soup"),
    "few": ("lora", "dora", "ia3", "adapter", "bitfit", "norm_tune", "side_tune", "truncate"),
    "structure": ("net2wider", "net2deeper", "prune_ft", "movement_prune"),
    "unlabelled": ("adabn", "deep_coral", "dann", "self_training"),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_run_on_the_gpu_finishes_and_its_model_predicts_on_the_cpu(toy, tmp_path, family):
    made = RunConfig.model_validate(
        {
            "domain": "toy", "out": tmp_path / "run", "device": "cuda", "strategies": FAMILIES[family], "seeds": 1,
            "threads": 1, "jobs": 1, "train": {"steps": 15, "learning_rate": 3e-3},
        }
    )  # fmt: skip
    done = run(made, load_registry(made), Reporter())
    report = json.loads((done.folder / "report" / "report.json").read_text())
    names = {c["strategy"] for c in report["candidates"]}
    assert set(FAMILIES[family]) <= names
    for candidate in report["candidates"]:
        assert [np.isfinite(s["test"]) for s in candidate["seeds"]] == [True], candidate["strategy"]

    file = tmp_path / "test.csv"
    np.savetxt(file, toy.rows(400, 4, 0.3).inputs.tensor.numpy(), delimiter=",")
    found = [r["probabilities"]["out"] for r in predict(done.folder, file, Reporter())]
    winner = next(c for c in report["candidates"] if c["strategy"] == report["verdict"]["winner"])
    wanted = read_tensors(done.folder / winner["seeds"][0]["trial"] / "test.safetensors")[0]["predictions"].numpy()
    np.testing.assert_allclose(found, wanted[:, 1], atol=2e-3)


@pytest.mark.slow
def test_the_gpu_scores_as_the_cpu_does(toy, tmp_path):
    """The same run on both: convex heads agree closely, so that a device moves no verdict."""
    means = {}
    for device in ("cpu", "cuda"):
        made = RunConfig.model_validate(
            {
                "domain": "toy", "out": tmp_path / device, "device": device, "strategies": ("linear_probe",),
                "seeds": 2, "threads": 1, "jobs": 1, "train": {"steps": 15, "learning_rate": 3e-3},
            }
        )  # fmt: skip
        done = run(made, load_registry(made), Reporter())
        means[device] = {c["strategy"]: c["mean"] for c in done.report["candidates"]}
    for name in ("linear_probe", "zero_shot", "majority", "nearest_mean"):
        assert means["cuda"][name] == pytest.approx(means["cpu"][name], abs=0.01), name
