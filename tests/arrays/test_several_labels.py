"""Any number of labels a row in memory: a run, its model, its exported file, and the estimator."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import tlplat
from tlplat.errors import DataError

LABELS = ("left", "up", "rare")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU())


def problem(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    return x, np.stack([x[:, 0] > 0, x[:, 1] > 0.3, x[:, 2] > 1.2], axis=1).astype(np.int64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path) -> tlplat.Run:
    x, y = problem(240, 0)
    np.savez(tmp_path / "rows.npz", x=x, y=y, classes=LABELS)
    torch.manual_seed(0)
    return tlplat.transfer(
        "arrays", tmp_path / "rows.npz", source=net(), factory=net, strategy="full_ft,linear_probe", seeds=1, threads=1,
        jobs=1, train={"steps": 80, "learning_rate": 0.01}, out=tmp_path / "run",
    )  # fmt: skip


def test_a_run_on_rows_and_its_model(run, tmp_path) -> None:
    report = run.report
    assert (report["task"]["labels"], report["task"]["several"]) == (list(LABELS), True)
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert min(scores["linear"], scores["forest"], scores["linear_probe"]) > 0.8
    assert scores["majority"] == 0.5
    counts = report["data_card"]["rows_by_label"]
    assert counts["rare"] == int(problem(240, 0)[1][:, 2].sum())
    model = tlplat.load_model(tmp_path / "run", net)
    x, y = problem(200, 1)
    p = model.decode(x)
    assert ((p >= 0.5) == y).mean() > 0.8
    said = model.predict(x)
    assert said[0]["prediction"] == [name for name, v in zip(LABELS, p[0], strict=True) if v >= 0.5]
    made = model.export(tmp_path / "m.safetensors", x)
    from safetensors import safe_open

    with safe_open(made.path, "pt") as file:
        told = json.dumps(dict(file.metadata()))
    assert "sigmoid(outputs)" in told
    assert "multi_label" in told


def test_the_estimator_follows_scikit_learn(tmp_path) -> None:
    x, y = problem(160, 2)
    torch.manual_seed(0)
    made = tlplat.TransferClassifier(net(), factory=net, strategy="linear_probe", settings={"threads": 1, "jobs": 1})
    made.fit(x, y)
    assert made.classes_.tolist() == [0, 1, 2]
    assert made.predict_proba(x).shape == made.predict(x).shape == (160, 3)
    assert set(np.unique(made.predict(x))) <= {0, 1}
    assert (made.predict(x) == y).mean() > 0.8
    assert 0.5 < made.score(x, y) <= 1
    made.fit(x, y[:, :1])
    assert made.predict(x).shape == (160,)


def test_several_numbers_and_labels_without_rows_are_refused() -> None:
    x, y = problem(40, 3)
    with pytest.raises(DataError, match="predicts one number"):
        tlplat.transfer("arrays", (x, y), source=net(), factory=net, task="regression", threads=1)
    y[:, 1] = 0
    with pytest.raises(DataError, match=r"(?s)1 of 3 labels.*label '1'"):
        tlplat.transfer("arrays", (x, y), source=net(), factory=net, threads=1)
