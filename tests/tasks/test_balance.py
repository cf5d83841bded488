"""Classes counted alike: predictions, baselines, calibration, and what a run and its model say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tlplat
from tlplat.checks.targets import imbalance, label_errors
from tlplat.data.examples import Examples, TensorInputs
from tlplat.errors import UsageError
from tlplat.metrics import BalancedAccuracy
from tlplat.strategies.closedform import nearest_mean
from tlplat.tasks.base import Evidence
from tlplat.tasks.classification import Classification
from tlplat.tasks.priors import Prior, frequencies
from tlplat.tasks.regression import Regression

LABELS = ["common", "rare"]


def draw(n: int, share: float, seed: int, d: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clouds whose true log-odds are known: that of the rare class is ``3 x0 - 4.5 + log(share / (1 - share))``."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(np.int64)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] += 3 * y
    return torch.from_numpy(x), torch.from_numpy(y)


def test_frequencies_are_shares_and_never_none() -> None:
    assert frequencies(torch.tensor([0, 0, 0, 1]), 3) == [0.75, 0.25, 0.125]
    assert frequencies(np.array([[1, 0], [1, 1], [1, 0], [1, 0]]), 2) == [0.875, 0.25]
    few = [[0] * (50 - n) + [1] * n + [2] * 34 for n in (2, 5)]
    assert frequencies(np.array(few[0]), 3, least=10) == frequencies(np.array(few[1]), 3, least=10)
    close = frequencies(np.array(few[0]), 3, least=10)
    np.testing.assert_allclose(np.log(close), [-0.6, -2.1, -0.9])
    sets = np.stack([np.array(few[0]) == k for k in range(3)], axis=1)
    np.testing.assert_allclose(Prior(frequencies(sets, 3, least=10), True).logits, [0.3, -2.0, -0.4], atol=1e-9)
    assert frequencies(np.zeros(4, dtype=np.int64), 2, least=10)[1] == pytest.approx(np.exp(-0.7))


@pytest.mark.parametrize("several", [False, True])
def test_moving_there_and_back_is_bayes_rule(several: bool) -> None:
    rng = np.random.default_rng(0)
    prior = [0.7, 0.2, 0.1]
    p = rng.random((50, 3)) if several else rng.dirichlet(np.ones(3), 50)
    shift = Prior(prior, several)
    alike = shift.removed_from(p)
    likelihood = p / np.array(prior)
    if several:
        other = (1 - p) / (1 - np.array(prior))
        np.testing.assert_allclose(alike, likelihood / (likelihood + other), rtol=1e-9)
    else:
        np.testing.assert_allclose(alike, likelihood / likelihood.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(shift.added_to(alike), p, rtol=1e-6)
    outputs = torch.from_numpy(np.log(p))
    torch.testing.assert_close(shift.added(shift.removed(outputs)), outputs)
    assert Prior(None, several).removed_from(p) is p


def test_predictions_are_those_for_classes_that_are_equally_frequent() -> None:
    z, y = draw(4000, 0.05, 0)
    plain = Classification(LABELS)
    alike = plain.balanced().settled(y)
    head = plain.fit_head(z, y, {})
    again = alike.fit_head(z, y, {})
    assert torch.equal(head.weight, again.weight)
    test, truth = draw(6000, 0.5, 1)
    outputs = test @ head.weight.T + head.bias
    said = alike.decode(outputs)[:, 1]
    right = 1 / (1 + np.exp(-(3 * test[:, 0].numpy() - 4.5)))
    assert np.abs(said - right).mean() < 0.03
    recall = BalancedAccuracy()
    best = recall(truth.numpy(), np.stack([1 - right, right], axis=1))[0]
    assert recall(truth.numpy(), alike.decode(outputs))[0] > best - 0.01
    assert recall(truth.numpy(), plain.decode(outputs))[0] < best - 0.04
    chosen = alike.chosen(outputs)
    assert torch.equal(chosen, torch.from_numpy(alike.decode(outputs).argmax(axis=1)))
    p = alike.decode(outputs).max(axis=1)
    np.testing.assert_allclose(alike.decision(outputs, chosen), np.log(p / (1 - p)), atol=1e-4)


def test_baselines_are_balanced_by_the_same_rule() -> None:
    _, y = draw(500, 0.1, 0)
    alike = Classification(LABELS).balanced().settled(y)
    outputs = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(alike.rebalanced(alike.unbalanced().decode(outputs)), alike.decode(outputs), rtol=1e-9)
    assert alike.rebalanced(alike.unbalanced().trivial(y)[None]).tolist() == [[0.5, 0.5]]
    assert Classification(LABELS).rebalanced(np.ones((1, 2)) / 2).tolist() == [[0.5, 0.5]]
    assert alike.unbalanced().info() == Classification(LABELS).info()


def test_a_fresh_head_and_one_taken_over_say_nothing_of_frequencies() -> None:
    _, y = draw(400, 0.1, 0)
    task = Classification(LABELS).balanced().settled(y)
    torch.manual_seed(0)
    head = task.head(8)
    torch.manual_seed(0)
    bare = Classification(LABELS).head(8)
    assert isinstance(head, nn.Linear)
    assert isinstance(bare, nn.Linear)
    z = torch.randn(20, 8)
    with torch.no_grad():
        np.testing.assert_allclose(task.decode(head(z)), Classification(LABELS).decode(bare(z)), atol=1e-6)
    given, plain = (bare.weight.detach(), bare.bias.detach()), Classification(LABELS)
    weight, bias = task.adopt_head(*given, plain.info())
    np.testing.assert_allclose(task.decode(z @ weight.T + bias), plain.decode(bare(z)), atol=1e-6)
    assert plain.adopt_head(*given, plain.info()) == given


def test_rows_of_another_set_are_fitted_at_their_own_frequencies() -> None:
    task = Classification(LABELS).balanced().settled(torch.tensor([0] * 9 + [1]))
    outputs, even = torch.randn(6, 2), torch.tensor([0, 1])
    np.testing.assert_allclose(torch.softmax(task.among(outputs, even), 1), task.decode(outputs), atol=1e-6)
    assert task.unbalanced().among(outputs, even) is outputs


def test_prototypes_of_rare_classes_say_how_rare_they_are() -> None:
    z, y = draw(3000, 0.08, 0, d=3)
    weight, bias = nearest_mean(z.double(), torch.nn.functional.one_hot(y).double())
    said = Classification(LABELS).decode(z.double() @ weight.T + bias)[:, 1]
    assert said.mean() == pytest.approx(float(y.float().mean()), abs=0.01)


@pytest.mark.parametrize("several", [False, True])
def test_calibrated_probabilities_are_of_classes_as_they_occur(several: bool) -> None:
    z, y = draw(4000, 0.05, 0)
    targets = torch.stack([1 - y, y], dim=1).float() if several else y
    task = Classification(LABELS, multi_label=several).balanced()
    settled = task.settled(targets)
    head = settled.fit_head(z, targets, {})
    (a, seen), (b, test) = draw(2000, 0.05, 1), draw(4000, 0.05, 2)
    as_sets = (lambda t: torch.stack([1 - t, t], dim=1).numpy()) if several else (lambda t: t.numpy())
    said = [settled.decode(x @ head.weight.T + head.bias) for x in (b, a)]
    evidence = Evidence(as_sets(test), said[0], as_sets(seen), said[1], 2000)
    found = task.detail(evidence)
    assert task.as_they_occur(evidence)[:, 1].mean() == pytest.approx(float(test.float().mean()), abs=0.015)
    assert task.unbalanced().as_they_occur(evidence) is said[0]
    assert found["ece"] < 0.02
    assert found["scaling"]["ece"][0] < 0.02
    row = settled.prediction_rows(said[0], found["scaling"])
    rare = np.array([r["calibrated"]["rare"] for r in row])
    assert abs(rare.mean() - float(test.float().mean())) < 0.01
    assert np.mean([r["probabilities"]["rare"] for r in row]) > 2 * rare.mean()
    assert "options.prior" in settled.outputs_text()
    assert "options.prior" not in task.unbalanced().outputs_text()


def test_metrics_and_what_is_refused() -> None:
    assert Classification(LABELS).balanced().metrics[0].name == "auroc"
    three = Classification(["a", "b", "c"]).balanced()
    assert three.metrics[0].name == "balanced_accuracy"
    assert {"brier", "log_loss"}.isdisjoint(m.name for m in three.metrics)
    assert three.measured_by("macro_f1").metrics[0].name == "macro_f1"
    assert Classification(**three.measured_by("macro_f1").info().options).info() == three.measured_by("macro_f1").info()
    with pytest.raises(UsageError, match=r"(?s)TL-TASK-METRIC.*did you mean 'macro_f1'"):
        three.measured_by("macro-f1")
    with pytest.raises(UsageError, match="TL-TASK-METRIC"):
        three.measured_by("log_loss")
    assert Classification(LABELS, metric="brier").balanced().metrics[0].name == "auroc"
    with pytest.raises(UsageError, match="a regression task has no classes to balance"):
        Regression().balanced()


def rows(y: torch.Tensor, seed: int = 0) -> Examples:
    x = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(seed))
    return Examples(TensorInputs(x), y, [f"r{i}" for i in range(len(y))])


def test_a_class_that_is_rare_is_told() -> None:
    task = Classification(["most", "few", "some"])
    (issue,) = imbalance(rows(torch.tensor([0] * 100 + [1] * 10 + [2] * 11)), task)
    assert issue.severity == "note"
    assert "1 of 3 classes have a tenth of the rows of most, or fewer: few;" in issue.message
    assert "right for 80 % of the rows and more" in issue.message
    assert "--balance" in issue.fix
    assert "--metric balanced_accuracy" in issue.fix
    assert list(imbalance(rows(torch.tensor([0] * 100 + [1] * 11 + [2] * 11)), task)) == []
    (issue,) = imbalance(rows(torch.tensor([0] * 70 + [1] * 70 + [2] * 7)), task)
    assert "always" not in issue.message
    assert issue.figures == {"rows": {"most": 70, "few": 70, "some": 7}}
    sets = torch.zeros(50, 2)
    sets[:5, 0], sets[:6, 1] = 1, 1
    (issue,) = imbalance(rows(sets), Classification(["a", "b"], multi_label=True))
    assert "1 of 2 labels stand at one row in 10, or fewer: a;" in issue.message
    assert list(imbalance(rows(torch.rand(30)), Regression())) == []


def test_labels_are_doubted_as_they_occur() -> None:
    pytest.importorskip("cleanlab")
    z, y = draw(300, 0.1, 4)
    made = Examples(TensorInputs(z), y, [f"r{i}" for i in range(300)])
    task = Classification(LABELS)
    plain, alike = (list(label_errors(made, z, t)) for t in (task, task.balanced()))
    assert plain == alike


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())


def test_a_run_that_counts_classes_alike(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    x, y = (t.numpy() for t in draw(400, 0.1, 0))
    names = np.array(LABELS)[y]
    torch.manual_seed(0)
    module, scores = net(), {}
    for balance in (False, True):
        out = tmp_path / f"run-{balance}"
        run = tlplat.transfer(
            "arrays", (x, names), source=module, factory=net, strategy="linear_probe,full_ft", seeds=1, threads=1,
            jobs=1, metric="balanced_accuracy", balance=balance, train={"steps": 60}, out=out,
        )  # fmt: skip
        assert run.report["metric"]["name"] == "balanced_accuracy"
        assert run.report["task"]["balanced"] is balance
        scores[balance] = {c["strategy"]: c["mean"] for c in run.report["candidates"]}
        assert ("equally frequent" in (out / "model" / "MODEL_CARD.md").read_text()) is balance
        assert ("equally frequent" in (out / "report" / "report.html").read_text()) is balance
    for name in ("linear_probe", "full_ft", "linear", "forest"):
        assert scores[True][name] > scores[False][name], name
    assert scores[True]["majority"] == scores[False]["majority"] == 0.5
    model = tlplat.load_model(tmp_path / "run-True", net)
    test, truth = (t.numpy() for t in draw(2000, 0.1, 9))
    said = model.predict(test)
    assert np.mean([r["calibrated"]["rare"] for r in said]) == pytest.approx(truth.mean(), abs=0.03)
    picked = np.array([r["prediction"] == "rare" for r in said])
    assert picked[truth == 1].mean() > 0.85
    recalls = {}
    for balance in (False, True):
        settings = {"threads": 1, "jobs": 1, "balance": balance}
        estimator = tlplat.TransferClassifier(module, factory=net, strategy="linear_probe", settings=settings)
        recalls[balance] = (estimator.fit(x, names).predict(test)[truth == 1] == "rare").mean()
    assert recalls[True] > recalls[False] + 0.2


def test_a_metric_that_the_task_does_not_have_ends_a_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    x, y = (t.numpy() for t in draw(80, 0.3, 0))
    with pytest.raises(UsageError, match="TL-TASK-METRIC"):
        tlplat.transfer("arrays", (x, y), source=net(), factory=net, metric="rmse", threads=1)
    with pytest.raises(UsageError, match="TL-TASK-BALANCE"):
        tlplat.transfer("arrays", (x, x[:, 0]), source=net(), factory=net, balance=True, threads=1)
