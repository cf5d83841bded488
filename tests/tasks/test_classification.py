import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.classification import Classification
from tlplat.tasks.confusions import confusion, suppressed
from tlplat.tasks.sets import label_table
from tlplat.tasks.softmax import cross_validated_loss


def blobs(n=120, classes=3, d=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, d)) + 1.2 * np.eye(classes, d)[y]
    return torch.from_numpy(x.astype(np.float32) * 3 + 5), torch.from_numpy(y)


def test_fit_head_equals_scikit_learn_on_standardised_features():
    z, y = blobs()
    decay = 0.1
    fit = Classification(["a", "b", "c"]).fit_head(z, y, {"weight_decays": [decay]})
    x = ((z - z.mean(0)) / z.std(0, correction=0)).double().numpy()
    model = LogisticRegression(C=1 / (decay * len(y)), tol=1e-8, max_iter=1000).fit(x, y.numpy())
    p = torch.softmax(z.double() @ fit.weight.double().T + fit.bias.double(), dim=1).numpy()
    np.testing.assert_allclose(p, model.predict_proba(x), atol=1e-4)


def test_the_decay_is_chosen_by_held_out_loss():
    z, y = blobs(n=60, d=40)
    fit = Classification(["a", "b", "c"]).fit_head(z, y, {})
    x = ((z - z.mean(0)) / z.std(0, correction=0)).float()
    losses = cross_validated_loss(x, y, 3, (1e-3, 1e-2, 1e-1, 1.0, 10.0), 5)
    assert fit.chosen["weight_decay"] == (1e-3, 1e-2, 1e-1, 1.0, 10.0)[int(losses.argmin())]
    assert fit.validation_loss == pytest.approx(float(losses.min()))


def test_cross_validated_loss_equals_folds_fitted_one_by_one():
    z, y = blobs(n=40, classes=2)
    x = (z - z.mean(0)) / z.std(0, correction=0)
    losses = cross_validated_loss(x, y, 2, [0.01, 1.0], 4)
    order = torch.argsort(y, stable=True)
    fold = torch.empty_like(y)
    fold[order] = torch.arange(40) % 4
    for decay, loss in zip([0.01, 1.0], losses.tolist(), strict=True):
        total = 0.0
        for f in range(4):
            inside = (fold != f).numpy()
            model = LogisticRegression(C=2 / (decay * inside.sum()), tol=1e-8, max_iter=1000)
            model.fit(x.numpy()[inside], y.numpy()[inside])
            p = model.predict_proba(x.numpy()[~inside])
            total += -np.log(p[np.arange(len(p)), y.numpy()[~inside]]).sum()
        # scikit-learn's two-class model has one weight vector: ||w||^2 of two opposite softmax rows is half of its own
        assert loss == pytest.approx(total / 40, rel=5e-3)


def test_a_pulled_head_is_the_optimum_of_its_objective():
    z, y = blobs(n=30, d=8)
    generator = torch.Generator().manual_seed(0)
    toward = (torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator))
    decay = 0.3
    fit = Classification(["a", "b", "c"]).fit_head(z, y, {"weight_decays": [decay], "toward": toward})
    scale = z.std(0, correction=0).double()
    change = torch.zeros(3, 8, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    x = (z.double() - z.double().mean(0)) / scale
    given = z.double() @ toward[0].double().T + toward[1].double()
    solver = torch.optim.LBFGS([change, shift], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def objective():
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(given + x @ change.T + shift, y)
        loss = loss + 0.5 * decay * change.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    expected = torch.softmax(given + x @ change.detach().T + shift.detach(), dim=1)
    found = torch.softmax(z.double() @ fit.weight.double().T + fit.bias.double(), dim=1)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_the_pull_decides_between_the_given_head_and_the_probe():
    z, y = blobs(n=60)
    task = Classification(["a", "b", "c"])
    good = task.fit_head(*blobs(n=600, seed=1), {})
    strong = task.fit_head(z, y, {"weight_decays": [1e6], "toward": (good.weight, good.bias)})
    torch.testing.assert_close(strong.weight, good.weight, atol=1e-4, rtol=0)
    few, labels = z[:9], y[:9]
    pulled = task.fit_head(few, labels, {"toward": (good.weight, good.bias)})
    assert pulled.validation_loss < task.fit_head(few, labels, {}).validation_loss
    assert "pulled_head" in task.info().offers
    assert "pulled_head" not in Classification(["a", "b"], multi_label=True).info().offers


def test_multi_label_fits_one_sigmoid_a_label():
    z, y = blobs(classes=3)
    hot = torch.eye(3)[y]
    task = Classification(["a", "b", "c"], multi_label=True)
    fit = task.fit_head(z, hot, {})
    p = task.decode(z @ fit.weight.T + fit.bias)
    assert task.metrics[0](hot.numpy(), p)[0] > 0.75
    assert task.trivial(hot) == pytest.approx(hot.mean(0).numpy())
    assert float(task.loss(z @ fit.weight.T + fit.bias, hot)) < 0.7
    assert torch.equal(task.strata(hot), hot.long())


def test_multi_label_targets_and_heads_are_its_own():
    task, single = Classification(["a", "b"], multi_label=True), Classification(["a", "b"])
    hot = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    task.check(hot, "wxyz")
    task.check_labelled(hot)
    assert task.facts(hot) == {"classes": {"a": 2, "b": 2}, "labels_a_row": {"0": 1, "1": 2, "2": 1}}
    with pytest.raises(DataError, match=r"row 1 \(x\): neither 0 nor 1"):
        task.check(torch.tensor([[1.0, 0.0], [0.5, 0.0]]), "wx")
    with pytest.raises(DataError, match="TL-DATA-LABEL-RANGE"):
        task.check(torch.tensor([1, 0]), "wx")
    assert task.takes_head(task.info())
    assert not task.takes_head(single.info())
    assert not single.takes_head(task.info())


def test_primary_metric_and_rebuild_from_info():
    assert Classification(["a", "b"]).metrics[0].name == "auroc"
    assert Classification(["a", "b", "c"]).metrics[0].name == "accuracy"
    task = Classification(["a", "b"], metric="accuracy")
    again = Classification(**task.info().options)
    assert again.metrics[0].name == "accuracy"
    assert again.info() == task.info()


def test_trivial_is_the_class_frequency():
    assert Classification(["a", "b"]).trivial(torch.tensor([0, 0, 0, 1])).tolist() == [0.75, 0.25]


def test_one_class_is_refused():
    with pytest.raises(DataError, match="TL-DATA-ONE-CLASS"):
        Classification(["a"])


def test_constant_features_do_not_break_the_scale():
    z, y = blobs(classes=2)
    z[:, 0] = 3.0
    fit = Classification(["a", "b"]).fit_head(z, y, {})
    assert fit.weight.isfinite().all()


def test_a_small_count_cannot_be_had_from_the_sum_of_its_class():
    targets = np.repeat([0, 1, 2], [40, 40, 40])
    said = np.repeat([0, 1, 1, 2, 0, 2, 1], [40, 37, 0, 3, 15, 13, 12])
    found = confusion(targets, np.eye(3)[said], 3, 11)
    assert found == [[40, 0, 0], [0, "11 or more", "< 11"], [15, 12, 13]]
    assert confusion(targets, np.eye(3)[said], 3) == [[40, 0, 0], [0, 37, 3], [15, 12, 13]]
    assert suppressed([3, 5, 40], 11) == ["< 11", "< 11", 40]
    assert suppressed([3], 11) == ["< 11"]


def test_the_table_of_labels_is_scikit_learns_and_hides_what_it_must():
    from sklearn.metrics import f1_score, precision_score, recall_score

    rng = np.random.default_rng(0)
    y = (rng.random((80, 4)) < [0.5, 0.3, 0.05, 0.0]).astype(float)
    p = np.clip(0.6 * y + 0.4 * rng.random((80, 4)), 0, 1) * [1, 1, 0.4, 1]
    labels = ("a", "b", "rare", "none")
    rows = {row[0]: row[1:] for row in label_table(y, p, labels)["rows"]}
    assert list(rows) == [*labels, "mean of the labels"]
    for c, name in enumerate(labels[:2]):
        said = p[:, c] >= 0.5
        scores = [score(y[:, c], said) for score in (precision_score, recall_score, f1_score)]
        assert rows[name][0] == int(y[:, c].sum())
        assert rows[name][3:] == pytest.approx(scores)
    assert rows["rare"][3:] == [None, 0.0, 0.0]
    assert rows["none"] == [0, None, None, None, None, None]
    assert rows["mean of the labels"][3] is None
    assert rows["mean of the labels"][1] == pytest.approx(np.mean([rows[name][1] for name in labels[:3]]))
    hidden = {row[0]: row[1:] for row in label_table(y, p, labels, 11)["rows"]}
    assert hidden["rare"] == ["< 11", None, None, None, None, None]
    assert hidden["none"][0] == 0
    assert hidden["a"] == rows["a"]
    missed = p * ~((np.cumsum(y[:, :1], axis=0) <= 3) & (y[:, :1] > 0))
    few = {row[0]: row[1:] for row in label_table(y, missed, labels, 11)["rows"]}
    assert few["a"][0] == rows["a"][0]
    assert few["a"][1] < 1
    assert few["a"][3:] == few["mean of the labels"][3:] == [None] * 3  # recall would tell of three rows
    task = Classification(labels, multi_label=True)
    found = task.detail(Evidence(y, p, y, p, 80))
    assert [curve["label"] for curve in found["roc"]] == list(labels)
    assert sum(b["count"] for b in found["calibration"]) == 320
    assert 0 < found["ece"] == found["scaling"]["ece"][0]


def test_no_count_of_few_rows_can_be_told_from_a_closer_look_at_labels():
    """The curve of a rare label has a step a row, and the calibration of all labels adds up to its count."""
    y = np.zeros((100, 3))
    y[:50, 0] = y[:5, 1] = y[:97, 2] = 1
    p = np.clip(np.abs(np.random.default_rng(0).random((100, 3)) - 0.2 * y), 0, 1)
    task = Classification(("half", "rare", "most"), multi_label=True, least=11)
    found = task.detail(Evidence(y, p, y, p, 100, 11))
    assert [len(curve["points"]) > 1 for curve in found["roc"]] == [True, False, False]
    assert [curve["auroc"] is None for curve in found["roc"]] == [False, True, True]
    assert sum(b["count"] for b in found["calibration"]) <= 100
    targets = torch.from_numpy(y)
    assert task.facts(targets) == {"classes": {"half": 50, "rare": "< 11", "most": "more than 89"}}
    assert "labels_a_row" in Classification(task.labels, multi_label=True).facts(targets)
    again = Classification(**task.info().options)
    with pytest.raises(DataError, match="CLASS-SMALL") as caught:
        again.check_labelled(targets[4:])
    assert "label 'rare': at < 11 of 96 rows" in caught.value.render()
    classes = Classification(("a", "b", "c"), least=11)
    with pytest.raises(DataError, match="'c' has < 11 samples") as caught:
        classes.check_labelled(torch.tensor([0] * 20 + [1] * 7 + [2]))
    assert "a: 20, b: < 11, c: < 11" in caught.value.render()
    one = np.repeat([0, 1, 2], [60, 35, 5])
    curves = classes.detail(Evidence(one, p / p.sum(axis=1, keepdims=True), one, p, 100, 11))["roc"]
    assert [len(curve["points"]) > 1 for curve in curves] == [True, True, False]
