"""What authors of small domains lean on: scikit-learn baselines, a strict reader of numbers, refusals."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from tlplat.classical import EstimatorBaseline, predicted
from tlplat.config import RunConfig
from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.tables import read_numbers
from tlplat.errors import DataError, ModelError, UsageError
from tlplat.progress import Reporter
from tlplat.stage import load_registry, prepare
from tlplat.tasks.base import check_whole
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression


def examples(targets):
    x = torch.randn(len(targets), 2, 3, generator=torch.Generator().manual_seed(0))
    return Examples(TensorInputs(x), targets, [str(i) for i in range(len(targets))])


def test_a_class_without_a_training_row_has_its_column():
    train = examples(torch.tensor([0, 2] * 10))
    baseline = EstimatorBaseline("logistic", "on numbers", lambda seed: LogisticRegression())
    (said,) = baseline.fit_predict(train, [train.inputs], Classification(["a", "b", "c"]), 0)
    assert said.shape == (20, 3)
    assert (said[:, 1] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)


def test_an_estimator_of_numbers():
    train = examples(torch.arange(20).double())
    baseline = EstimatorBaseline("linear", "on numbers", lambda seed: LinearRegression())
    (said,) = baseline.fit_predict(train, [train.inputs], Regression(), 0)
    assert (said.shape, said.dtype) == ((20,), np.float64)


def test_numbers_are_read_strictly(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1,2\n\n3,4.5\n", encoding="utf-8")
    ids, rows = read_numbers(path, 2)
    assert ids == ["line 1", "line 3"]
    assert rows.tolist() == [[1, 2], [3, 4.5]]
    for text, where in (("1,2\n3\n", "line 2"), ("1,x\n", "line 1"), ("1,nan\n", "line 1"), ("", "rows.csv")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="TL-DATA-READ") as caught:
            read_numbers(path, 2)
        assert where in caught.value.where


def test_whole_numbers_out_of_range_are_named_by_row():
    with pytest.raises(DataError, match=r"TL-DATA-LABEL-RANGE[\s\S]*row 1 \(b\)"):
        check_whole(torch.tensor([0, 4, 1]), ["a", "b", "c"], 3, "grade")


def test_a_domain_names_its_sources_where_another_is_asked_for(toy):
    assert toy.Toy().need_source("rings").name == "rings"
    with pytest.raises(ModelError, match="TL-MODEL-UNKNOWN") as caught:
        toy.Toy().need_source("rinks")
    assert "did you mean 'rings'" in str(caught.value)


def test_a_domain_with_its_demo_alone_refuses_data(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(toy.Toy, "takes_data", False)
    config = RunConfig.model_validate({"domain": "toy", "data": {"path": tmp_path / "rows.csv"}})
    with pytest.raises(UsageError, match="TL-DATA-DEMO"):
        prepare(config, load_registry(config), Reporter())


def test_one_estimator_a_label_where_rows_have_any_number():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0.5, np.zeros(120), np.ones(120)], axis=1).astype(np.float32)
    train = Examples(TensorInputs(torch.from_numpy(x)), torch.from_numpy(y), [str(i) for i in range(120)])
    task = Classification(["a", "b", "never", "always"], multi_label=True)
    made = EstimatorBaseline("own", "own", lambda seed: LogisticRegression())
    (p,) = made.fit_predict(train, [train.inputs], task, 0)
    assert p.shape == (120, 4)
    assert ((p >= 0.5) == (y > 0)).mean() > 0.95
    assert (p[:, 2] == 0).all()
    assert (p[:, 3] == 1).all()
    forest = RandomForestClassifier(20, random_state=0).fit(x, y.astype(int))
    assert ((predicted(forest, x, task) >= 0.5) == (y > 0)).mean() > 0.95
