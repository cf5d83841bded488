"""tlplat from Python: runs as calls, modules and rows in memory, models read back, scikit-learn estimators."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import tlplat
from tlplat.errors import DataError, ModelError, TlplatError, UsageError
from tlplat.progress import Reporter
from tlplat.runner import resume

QUICK = {"seeds": 1, "threads": 1, "train": {"steps": 60}}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 2))


def problem(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = (np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] > 0).astype(int)
    return x + shift, y


@pytest.fixture(scope="module")
def pretrained() -> nn.Sequential:
    torch.manual_seed(0)
    module = net()
    x, y = (torch.from_numpy(v) for v in problem(3000, 1))
    adam = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(250):
        adam.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        adam.step()
    return module


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def adapted(pretrained, tmp_path) -> tlplat.Run:
    x, y = problem(240, 2, 0.2)
    labels = np.array(["out", "in"])[y]
    return tlplat.transfer(
        "arrays", (x, labels), source=pretrained, head="4", source_labels=["out", "in"],
        strategy="full_ft,linear_probe", labels=60, out=tmp_path / "run", **QUICK,
    )  # fmt: skip


def test_a_module_is_adapted_and_read_back(adapted, pretrained) -> None:
    names = {c["strategy"] for c in adapted.report["candidates"]}
    assert {"full_ft", "linear_probe", "scratch", "zero_shot", "linear", "forest"} <= names
    mean = {c["strategy"]: c["mean"] for c in adapted.report["candidates"]}
    assert mean["zero_shot"] > 0.8, "the module's own head is of use"
    assert mean["scratch"] < mean["zero_shot"], "scratch starts from scratch"
    assert adapted.verdict["outcome"] in ("helps", "ties", "hurts")

    model = tlplat.load_model(adapted.folder, factory=net)
    x, y = problem(200, 3, 0.2)
    assert model.labels == ("out", "in")
    rows = model.predict(x)
    assert [r["id"] for r in rows[:2]] == ["row 0", "row 1"]
    assert np.mean([r["prediction"] == ("out", "in")[t] for r, t in zip(rows, y, strict=True)]) > 0.75
    shares = model.decode(x)
    assert shares.shape == (200, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert isinstance(model.module, nn.Module)
    done = model.export(adapted.folder.parent / "adapted.pt2", x)
    again = torch.export.load(done.path).module()(torch.from_numpy(x))
    np.testing.assert_allclose(torch.softmax(again, 1).detach().numpy(), shares, atol=1e-5)


def test_the_model_needs_its_factory(adapted) -> None:
    with pytest.raises(ModelError, match="which no file holds") as caught:
        tlplat.load_model(adapted.folder)
    assert caught.value.code == "TL-MODEL-FACTORY"
    with pytest.raises(ModelError, match="another structure"):
        tlplat.load_model(adapted.folder / "model", factory=lambda: nn.Linear(6, 2))
    with pytest.raises(DataError, match="shape"):
        tlplat.load_model(adapted.folder, factory=net).predict(np.zeros((2, 5)))


def test_a_complete_run_is_only_read_by_resume(adapted) -> None:
    assert resume(adapted.folder, Reporter()).report == adapted.report


def test_a_fresh_process_reads_the_model(adapted, tmp_path) -> None:
    x, _ = problem(5, 3)
    np.savez(tmp_path / "new.npz", x=x)
    code = (
        "import json, sys, tlplat; from torch import nn\n"
        "net = lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 2))\n"
        "print(json.dumps(tlplat.load_model(sys.argv[1], factory=net).predict(sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(adapted.folder / "model"), str(tmp_path / "new.npz")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    there, here = json.loads(done.stdout), tlplat.load_model(adapted.folder, factory=net).predict(x)
    assert [r["prediction"] for r in there] == [r["prediction"] for r in here]
    for a, b in zip(there, here, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)  # threads may differ


def test_regression_and_groups(pretrained, tmp_path) -> None:
    x, _ = problem(160, 4)
    y = 3.0 * x[:, 0] + np.random.default_rng(0).normal(size=160) * 0.1
    groups = np.arange(160) // 4
    found = tlplat.transfer(
        "arrays", (x, y, groups), source=pretrained, head="4", strategy="linear_probe", out=tmp_path / "r", **QUICK
    )
    assert found.report["metric"]["name"] == "rmse"
    model = tlplat.load_model(found.folder, factory=net)
    assert model.labels == ()
    assert model.decode(x).shape == (160,)
    splits = json.loads((found.folder / "data" / "manifest.json").read_text())
    assert "whole groups" in json.dumps(splits)


def test_a_domains_run_is_a_call(toy, tmp_path) -> None:
    found = tlplat.transfer("toy", strategy=["linear_probe"], labels=40, shift=0.1, out=tmp_path / "t", **QUICK)
    assert found.report["domain"] == "toy"
    assert (found.folder / "report" / "report.html").exists()
    (tmp_path / "new.csv").write_text("\n".join([",".join(["0.5"] * 12)] * 3) + "\n")
    assert len(found.predict(tmp_path / "new.csv")) == 3
    assert len(tlplat.load_model(found.folder).predict(str(tmp_path / "new.csv"))) == 3


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"sedes": 3}, UsageError, "did you mean"),
        ({"seeds": "many"}, UsageError, "seeds"),
        ({"train": {"stepps": 3}}, UsageError, "stepps"),
        ({"data": (np.zeros((3, 2)), [0, 1, 0])}, UsageError, "takes no rows in memory"),
        ({"source": nn.Linear(2, 2)}, UsageError, "takes no a module|a module as the source"),
    ],
)
def test_settings_that_are_refused(toy, given, error, said) -> None:
    with pytest.raises(error, match=said):
        tlplat.transfer("toy", **given)


def test_arrays_without_rows_or_source(tmp_path) -> None:
    with pytest.raises(UsageError, match="needs rows"):
        tlplat.transfer("arrays", source=net())
    with pytest.raises(TlplatError, match="no source model of its own") as caught:
        tlplat.transfer("arrays", problem(40, 1), out=tmp_path / "r")
    assert caught.value.code == "TL-SOURCE-NONE"
    with pytest.raises(DataError, match="NaN"):
        tlplat.transfer("arrays", (np.full((4, 6), np.nan), [0, 1, 0, 1]), source=net())
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_estimators_sit_in_a_pipeline(pretrained) -> None:
    x, y = problem(160, 5, 0.2)
    labels = np.array(["no", "yes"])[y]
    made = tlplat.TransferClassifier(
        pretrained, head="4", strategy="linear_probe", settings={"train": {"steps": 60}, "threads": 1}
    )
    scores = cross_val_score(make_pipeline(StandardScaler(with_std=False, with_mean=False), made), x, labels, cv=2)
    assert scores.min() > 0.7, scores
    made.fit(x, labels)
    assert list(made.classes_) == ["no", "yes"]
    assert made.predict_proba(x).shape == (160, 2)
    assert made.verdict_["outcome"] in ("helps", "ties", "hurts")
    assert made.n_features_in_ == 6

    number = tlplat.TransferRegressor(pretrained, head="4", strategy="linear_probe", settings={"threads": 1})
    number.fit(x, 2.0 * x[:, 0])
    assert number.predict(x).shape == (160,)
    assert number.score(x, 2.0 * x[:, 0]) > 0.2
