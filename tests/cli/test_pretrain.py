"""Sources that are pretrained on data of the user's: written, listed, handed on, refused where they would cheat."""

import json
import shutil

import pytest

from tlplat.cache import cache_root
from tlplat.config import RunConfig
from tlplat.errors import ModelError, UsageError
from tlplat.kept import describe, is_source, keep, kept, place_of, read_kept
from tlplat.modelio import load_source
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry
from tlplat.testing import varied


@pytest.fixture
def home(site, tmp_path, monkeypatch):
    """The varied domain installed, an empty cache, and a file of source rows and one of target rows."""
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    code = "from tlplat.testing.varied import tlplat_register_backbones, tlplat_register_domains"
    site.add("tlplat-varied", code, group="domains", name="varied", module="tlplat_varied")
    varied.write_rows(tmp_path / "old.csv", varied.rows("number", 1000, 1))
    varied.write_rows(tmp_path / "new.csv", varied.rows("number", 200, 5, 0.3))
    return tmp_path


@pytest.fixture
def source(home, tlplat):
    done = tlplat("pretrain", "--domain", "varied", "--data", str(home / "old.csv"), "-o", str(home / "mine"), "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)["source"]
    assert document["predicts"] == "regression"
    assert document["provenance"]["rows"] == 900
    assert document["provenance"]["validation"]["rmse"] < 12
    return home / "mine"


def config(home, **more):
    fast = {"strategies": ("linear_probe",), "seeds": 1, "threads": 1, "jobs": 1, "train": {"steps": 10}}
    data = {"path": home / "new.csv"}
    return RunConfig.model_validate({"domain": "varied", "out": home / "run", "data": data, **fast, **more})


def test_the_folder_is_safetensors_and_json_and_is_listed(home, source, tlplat):
    assert sorted(p.name for p in source.iterdir()) == ["manifest.json", "model.safetensors", "source.json"]
    listed = json.loads(tlplat("sources", "--domain", "varied", "--json").out)["sources"]
    assert [(s["name"], s["domain"]) for s in listed] == [("straight", "varied"), ("old", "varied")]
    assert listed[1]["path"] == str(source)
    assert listed[1]["license"] == "CC0-1.0"
    assert "old.csv" in tlplat("sources", str(source)).out
    shutil.rmtree(source)
    assert list(kept(cache_root())) == []


@pytest.mark.parametrize("moved", [True, False])
def test_a_run_takes_it_by_folder_also_moved_and_by_name(home, source, moved):
    if moved:
        shutil.move(source, home / "theirs")
    named = str(home / "theirs") if moved else "old"
    made = config(home, source=named)
    report = run(made, load_registry(made), Reporter()).report
    assert report["source_card"]["data"] == "old.csv"
    assert {"linear_probe", "zero_shot"} <= {c["strategy"] for c in report["candidates"]}
    by_name = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert by_name["zero_shot"] < by_name["mean"]


def test_its_own_training_data_are_no_target(home, source):
    with pytest.raises(UsageError, match="TL-LEAK-SOURCE"):
        read_kept(source, "varied", home / "old.csv")
    made = config(home, source=str(source), data={"path": home / "old.csv"})
    with pytest.raises(UsageError, match="seen every test row"):
        run(made, load_registry(made), Reporter())


def test_another_domains_source_and_a_damaged_one_are_refused(home, source):
    with pytest.raises(UsageError, match="TL-SOURCE-DOMAIN"):
        read_kept(source, "toy", None)
    weights = source / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="TL-MODEL-CORRUPT"):
        read_kept(source, "varied", None)


def test_two_of_one_name_must_be_told_apart(home, source):
    keep(load_source(source), home / "again", "varied", cache_root(), None)
    with pytest.raises(UsageError, match="TL-SOURCE-TWICE"):
        place_of("old", "varied", cache_root())
    assert place_of(str(source), "varied", cache_root()) == source
    assert place_of("old", "toy", cache_root()) is None


def test_a_folder_in_use_and_a_domain_that_cannot(home, source, tlplat, toy_site, monkeypatch):
    done = tlplat("pretrain", "--domain", "varied", "--data", str(home / "old.csv"), "-o", str(source))
    assert done.code == 2
    assert "TL-OUT-EXISTS" in done.err
    monkeypatch.syspath_prepend(str(toy_site))
    done = tlplat("pretrain", "--domain", "toy", "--data", str(home / "old.csv"), "-o", str(home / "x"))
    assert done.code == 2
    assert "TL-PRETRAIN-NONE" in done.err
    assert not is_source(home / "x")
    with pytest.raises(ModelError, match="TL-MODEL-PATH"):
        describe(home)
