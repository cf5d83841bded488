"""Precedence, origins, and faults of every layer at once."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tlplat.errors import UsageError
from tlplat.resolve import flag, guessed, peek, resolve, variable
from tlplat.testing.toy import Toy


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "c.toml"

    def make(text: str):
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_each_layer_wins_over_those_below(file):
    path = file('domain = "file"\nseeds = 3\nseed = 3\ndata_seed = 3')
    environ = {"TLPLAT_SEEDS": "2", "TLPLAT_SEED": "2", "TLPLAT_DATA_SEED": "2", "TLPLAT_LABELS": "20"}
    config, origins = resolve({"seeds": 5}, ["seeds=4", "seed=4"], path, environ)
    assert (config.seeds, config.seed, config.data_seed, config.labels) == (5, 4, 3, 20)
    assert {k: origins[k] for k in ("seeds", "seed", "data_seed", "labels", "threads")} == {
        "seeds": "flag --seeds",
        "seed": "--set",
        "data_seed": f"file {path}",
        "labels": "environment TLPLAT_LABELS",
        "threads": "default",
    }


def test_tables_are_merged_key_by_key(file):
    path = file('domain = "d"\n[train]\nepochs = 2\nbatch_size = 8')
    config, _ = resolve({}, ["train.epochs=5"], path, {"TLPLAT_TRAIN__STEPS": "9"})
    assert (config.train.epochs, config.train.batch_size, config.train.steps) == (5, 8, 9)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("strategies=a,b", "strategies", ("a", "b")),
        ('strategies=["a", "b"]', "strategies", ("a", "b")),
        ("labels=all", "labels", "all"),
        ("source=tiara", "source", "tiara"),
        ('source="3"', "source", "3"),
        ("train.epochs = 1.5", None, None),
        ("offline=true", "offline", True),
    ],
)
def test_set_takes_toml_or_bare_strings(text, key, expected):
    config, _ = resolve({"domain": "d"}, [text], None, {})
    assert key is None or getattr(config, key) == expected


def test_unrelated_variables_are_left_alone():
    resolve(
        {"domain": "d"}, environ={"TLPLAT_CACHE_DIR": "/x", "TLPLAT_DEBUG": "1", "TLPLAT_NOPE": "1", "TLPLAT_SEED": ""}
    )


@pytest.mark.parametrize(
    ("flags", "sets", "text", "code"),
    [
        ({"seeds": 0}, [], "", "TL-USAGE"),
        ({}, ["seeds=0"], "", "TL-USAGE"),
        ({}, ["nope=1"], "", "TL-USAGE"),
        ({}, [], "seeds = 0", "TL-CONFIG-TYPE"),
        ({}, [], "nope = 1", "TL-CONFIG-UNKNOWN"),
        ({"seeds": 0}, [], "nope = 1", "TL-CONFIG-TYPE"),
        ({}, ["out=$HOME/x"], "", "TL-CONFIG-PATH"),
        ({}, [], 'out = "a;b"', "TL-CONFIG-PATH"),
        ({}, [], 'options.file = "`id`"', "TL-CONFIG-PATH"),
    ],
)
def test_codes(file, flags, sets, text, code):
    with pytest.raises(UsageError) as caught:
        resolve({"domain": "d", **flags}, sets, file(text), {})
    assert caught.value.code == code


def test_a_flag_takes_any_name_since_the_shell_has_expanded_it():
    config, _ = resolve({"domain": "d", "out": "a;$b"}, environ={})
    assert config.out is not None
    assert config.out.name == "a;$b"


def test_a_home_is_not_expanded():
    config, _ = resolve({"domain": "d", "out": "~/x"}, environ={})
    assert config.out is not None
    assert config.out.parts[-2:] == ("~", "x")


def test_a_domain_has_defaults_of_its_own_for_every_run(file):
    class Slow(Toy):
        defaults: ClassVar = {"seeds": 2, "train.epochs": 3, "strategies": ("linear_probe",)}

    config, origins = resolve({"domain": "d", "data.path": "x.csv"}, environ={}, domain=Slow)
    assert (config.seeds, config.train.epochs, config.strategies) == (2, 3, ("linear_probe",))
    assert origins["seeds"] == origins["train.epochs"] == f"domain {Toy.name}"
    config, origins = resolve({"domain": "d", "seeds": 4}, ["train.steps=7"], environ={}, domain=Slow)
    assert (config.seeds, config.train.steps, config.train.epochs) == (4, 7, None)
    assert origins["seeds"] == "flag --seeds"


def test_peek(file, monkeypatch):
    monkeypatch.delenv("TLPLAT_DOMAIN", raising=False)
    path = file('domain = "file"')
    assert peek({"domain": "flag"}, ["domain=set"], path) == "flag"
    assert peek({}, ["domain=set"], path) == "set"
    assert peek({}, [], path) == "file"
    assert peek({}) is None
    assert peek({}, [], file("domain = 3")) is None
    monkeypatch.setenv("TLPLAT_DOMAIN", "env")
    assert peek({}) == "env"


def test_spellings():
    assert (flag("data.path"), flag("strategies"), flag("data.labels_from")) == ("data", "strategy", "labels-from")
    assert variable("train.batch_size") == "TLPLAT_TRAIN__BATCH_SIZE"


def test_each_demo_of_a_domain_may_have_labels_of_its_own():
    class Several(Toy):
        @classmethod
        def labels_by_default(cls, options):
            return {2.0: 12}.get(options.get("shift"), cls.default_labels)

    near, _ = resolve({"domain": "toy"}, environ={}, domain=Several)
    far, origins = resolve({"domain": "toy", "options.shift": 2.0}, environ={}, domain=Several)
    own, _ = resolve({"domain": "toy", "options.shift": 2.0, "labels": 7}, environ={}, domain=Several)
    assert (near.labels, far.labels, own.labels) == (40, 12, 7)
    assert origins["labels"] == "domain toy"


class Guessing(Toy):
    """Reads a target's name from the table's header."""

    @classmethod
    def guess(cls, path, given):
        return {"data.target": path.read_text(encoding="utf-8").strip(), "seeds": 9}


def test_a_guess_yields_to_the_user_and_wins_over_defaults(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("outcome\n", encoding="utf-8")
    flags = {"domain": "toy", "data.path": str(path)}
    config, origins = resolve({**flags, "seeds": 2}, domain=Guessing, environ={})
    assert (config.data.target, config.seeds) == ("outcome", 2)
    assert origins["data.target"] == "guessed from t.csv"
    assert guessed(config, origins) == "guessed from t.csv: --target outcome (give these to choose others)"
    config, origins = resolve(flags, ["data.target=mine", "seeds=3"], domain=Guessing, environ={})
    assert (config.data.target, config.seeds) == ("mine", 3)
    assert guessed(config, origins) is None


def test_nothing_is_guessed_from_a_file_that_is_not_there(tmp_path):
    config, _ = resolve({"domain": "toy", "data.path": str(tmp_path / "none.csv")}, domain=Guessing, environ={})
    assert config.data.target is None
