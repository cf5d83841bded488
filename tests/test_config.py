"""The schema of a run's configuration, and its TOML form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tlplat.config import RunConfig, TrainOptions, from_toml, keys, to_toml
from tlplat.errors import UsageError


def test_defaults():
    config = RunConfig(domain="toy")
    assert (config.strategies, config.seeds, config.labels, config.device) == (("auto",), 5, None, "cpu")
    assert config.train == TrainOptions()
    assert config.data.path is None


def test_it_is_frozen_and_closed():
    config = RunConfig(domain="toy")
    with pytest.raises(ValidationError):
        config.seeds = 3
    with pytest.raises(ValidationError):
        RunConfig(domain="toy", sedes=3)


@pytest.mark.parametrize(
    "bad",
    [
        {"seeds": 0},
        {"seeds": "3"},
        {"seeds": True},
        {"seed": -1},
        {"seed": 2**32},
        {"labels": 1},
        {"labels": "some"},
        {"threads": 0},
        {"device": "cuda:"},
        {"offline": 1},
        {"domain": ""},
        {"domain": 3},
        {"strategies": []},
        {"require": ["auroc"]},
        {"train": {"epochs": 0}},
        {"train": {"epochs": float("nan")}},
        {"train": {"learning_rate": float("inf")}},
        {"train": {"precision": "float16"}},
        {"features": {"dtype": "bf16"}},
        {"data": {"path": 3}},
    ],
)
def test_bad_values_are_refused(bad):
    with pytest.raises(ValidationError):
        RunConfig(**{"domain": "toy", **bad})


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda t: not t.startswith("file:///")
)
maybe = st.none() | text


@given(
    st.builds(
        dict,
        domain=text,
        source=maybe,
        strategies=st.lists(text.filter(lambda t: "," not in t), min_size=1).map(tuple),
        labels=st.none() | st.integers(2, 2**31 - 1),
        seed=st.integers(0, 2**32 - 1),
        deterministic=st.booleans(),
        data=st.builds(dict, path=maybe, target=maybe),
        train=st.builds(dict, learning_rate=st.none() | st.floats(1e-300, 1e300)),
        options=st.dictionaries(text, text | st.integers(-(2**60), 2**60) | st.booleans() | st.lists(text)),
    )
)
def test_toml_round_trip(tmp_path_factory, values):
    config = RunConfig(**values)
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(to_toml(config), encoding="utf-8", newline="")
    assert from_toml(path) == config


def test_names_that_are_no_utf8_survive(tmp_path):
    config = RunConfig(domain="toy", out="d\udcff", data={"path": "/x/\udce9 y", "labels_from": "/l\udcff.csv"})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert from_toml(path) == config
    assert config.out == Path.cwd() / "d\udcff"


def test_a_damaged_config_of_a_run_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('domain = "toy"\nsede = 3\n', encoding="utf-8")
    with pytest.raises(UsageError, match="not the configuration of a run") as caught:
        from_toml(path)
    assert caught.value.findings[0].where == "sede"


def test_every_key_is_described():
    assert [key for key, info in keys().items() if not info.description] == []
