"""What a run works on, from its configuration: unlabelled and source rows among it."""

import numpy as np
import pytest
import torch

from tlplat.config import RunConfig
from tlplat.errors import DataError
from tlplat.progress import Reporter
from tlplat.runner import plan_only
from tlplat.stage import load_registry, prepare


def staged(toy, strategy="linear_probe", **more):
    config = RunConfig.model_validate({"domain": "toy", "strategies": (strategy,), "threads": 1, "labels": 40, **more})
    return config, prepare(config, load_registry(config), Reporter())


def written(path, rows):
    np.savetxt(path, rows.inputs.tensor.numpy(), delimiter=",", fmt="%.9g")
    return path


def test_the_domains_own_unlabelled_rows_are_the_pool_without_the_labelled_ones(toy):
    _, stage = staged(toy)
    facts = stage.target.data_card["unlabeled"]
    assert facts["rows"] == len(stage.views[0].unlabeled) == len(stage.target.pool) - 40
    assert facts["from"] == "the toy domain"
    assert facts["left_out_as_labelled_rows_or_copies"] == 40
    assert "unlabeled" in stage.views[0].bench(stage.bench).task_info.offers


@pytest.mark.parametrize("labels", [300, "all"])
def test_where_all_rows_are_labelled_none_is_unlabelled(toy, labels):
    _, stage = staged(toy, labels=labels)
    assert len(stage.views[0].labelled) == len(stage.target.pool) == 300
    assert stage.views[0].unlabeled is None
    assert "unlabeled" not in stage.views[0].bench(stage.bench).task_info.offers


def test_a_file_of_unlabelled_rows_takes_their_place_and_loses_the_test_rows(toy, tmp_path):
    _, plain = staged(toy)
    test = plain.target.test
    fresh, leaked = toy.rows(20, 77), test.select(torch.arange(5))
    path = tmp_path / "more.csv"
    with path.open("w", encoding="utf-8") as file:
        for part in (fresh, leaked):
            np.savetxt(file, part.inputs.tensor.numpy(), delimiter=",", fmt="%.9g")
    config, stage = staged(toy, data={"unlabeled": path})
    assert stage.target.data_card["unlabeled"] == {
        "rows": 20,
        "from": "more.csv",
        "rows_offered": 25,
        "left_out_as_test_rows": 5,
        "left_out_as_labelled_rows_or_copies": 0,
    }
    assert any("5 of 25 unlabelled rows of more.csv are test rows" in w for w in stage.context.warnings)
    plan = plan_only(config, load_registry(config), Reporter())
    assert plan["labels"] == {"train_and_validation": 40, "test": 400, "unlabeled": 20}


def test_a_file_of_test_rows_alone_is_refused(toy, tmp_path):
    _, plain = staged(toy)
    with pytest.raises(DataError) as caught:
        staged(toy, data={"unlabeled": written(tmp_path / "t.csv", plain.target.test)})
    assert caught.value.code == "TL-DATA-UNLABELED"


def test_source_rows_are_read_only_where_a_strategy_would_use_them(toy, monkeypatch):
    from tlplat.strategies.linear_probe import LinearProbe

    assert staged(toy)[1].views[0].source_rows is None
    monkeypatch.setattr(LinearProbe, "uses", frozenset({"source_rows"}))
    assert len(staged(toy)[1].views[0].source_rows) == 500
    assert staged(toy, options={"lend_source": False})[1].views[0].source_rows is None


def test_features_are_kept_as_configured(toy):
    for options, dtype in (({}, torch.float32), ({"features": {"dtype": "bfloat16"}}, torch.bfloat16)):
        config, stage = staged(toy, **options)
        assert stage.bench.store.dtype == dtype
        assert config.features.dtype in str(dtype)
