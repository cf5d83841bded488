import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from report import sample

from tlplat.report.document import CandidatePart, Report, VerdictPart
from tlplat.report.plain import plain, printable


@pytest.mark.parametrize("make", sample.ALL.values(), ids=sample.ALL)
def test_round_trip(make):
    once = Report.of(make()).to_json()
    text = json.dumps(once, allow_nan=False)
    assert Report.of(json.loads(text)).to_json() == once


def test_design_fields_stay():
    document = Report.of(sample.sample()).to_json()
    assert {"schema_version", "tlplat", "domain", "task", "metric", "labels", "candidates", "verdict", "run_dir"} < set(
        document
    )
    assert {"source", "strategy", "family", "hyperparameters", "mean", "interval", "seeds", "trained_parameters"} | {
        "inference_cost",
        "seconds",
    } < set(document["candidates"][0])
    assert {"outcome", "negative_transfer", "winner", "reference", "difference", "interval", "adaptation"} | {
        "sentence"
    } < set(document["verdict"])
    assert document["candidates"][0]["interval"] == sample.sample()["candidates"][0]["interval"]


def test_nothing_given_is_lost():
    def within(given, kept):
        if isinstance(given, dict):
            assert set(given) <= set(kept)
            for key in given:
                within(given[key], kept[key])
        elif isinstance(given, list):
            assert len(given) == len(kept)
            for a, b in zip(given, kept, strict=True):
                within(a, b)
        else:
            assert given == kept

    document = sample.sample() | {"novelty": {"deep": [1, 2]}}
    document["candidates"][0]["novelty"] = "kept"
    within(document, Report.of(document).to_json())


def test_figures_have_as_many_decimals_as_the_document_says_and_settings_all():
    given = sample.sample()
    given["candidates"][0] |= {"mean": 0.123456, "hyperparameters": {"learning_rate": 3.21e-5}}
    assert Report.of(given).to_json()["candidates"][0]["mean"] == 0.123456
    found = Report.of(given | {"decimals": 3}).to_json()
    assert found["candidates"][0]["mean"] == 0.123
    assert found["candidates"][0]["hyperparameters"] == {"learning_rate": 3.21e-5}
    assert Report.of(found).to_json() == found


def test_nan_becomes_null_everywhere():
    document = sample.undefined()
    document["data_card"]["ratio"] = math.inf
    document["novelty"] = [math.nan, np.float32("nan")]
    out = Report.of(document).to_json()
    assert out["candidates"][0]["mean"] is None
    assert out["verdict"]["interval"] == [None, None]
    assert out["data_card"]["ratio"] is None
    assert out["novelty"] == [None, None]


def test_models_take_nan_too():
    part = CandidatePart(strategy="a", family="feature", transfers=True, mean=math.nan, interval=(math.nan, math.nan))
    assert (part.mean, part.interval, part.key) == (None, (None, None), "a")


def test_plain_values():
    assert plain(np.int64(3)) == 3
    assert plain(np.array([[1.5, np.nan]])) == [[1.5, None]]
    assert plain({Path("a"): {2, 1}}) == {"a": [1, 2]}
    assert plain(Path("x/y")) == "x/y"
    assert type(plain(np.float64(0.5))) is float
    assert plain("d\udcff") == "d\\udcff"
    with pytest.raises(TypeError, match="object at /a/0"):
        plain({"a": [object()]})


def test_printable_makes_controls_visible_and_leaves_scripts_alone():
    assert printable("a\x1b[2J\x00\u202eb\u2028") == "a\\x1b[2J\\x00\\u202eb\\u2028"
    assert printable("S. aureus \u0394\u00e9\u6f22 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == (
        "S. aureus \u0394\u00e9\u6f22 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )


def edit(path, value):
    document = sample.sample()
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["candidates", 0, "interval"], [0.9, 0.1], "upside down"),
        (["candidates", 0, "family"], "telepathy", "family"),
        (["candidates", 0, "seeds", 0, "trial"], "/etc/passwd", "inside the run folder"),
        (["candidates", 0, "seeds", 0, "trial"], "trials/../../x", "inside the run folder"),
        (["candidates", 0, "seeds", 0, "trial"], "C:\\x", "inside the run folder"),
        (["candidates", 0, "trained_parameters"], -1, "trained_parameters"),
        (["candidates", 1, "key"], "linear_probe", "share the key"),
        (["verdict", "winner"], "l2ps", "verdict.winner names 'l2ps'"),
        (["verdict", "outcome"], "maybe", "outcome"),
        (["details"], {"nobody": {}}, "details names 'nobody'"),
        (["schema_version"], 2, "schema_version"),
        (["labels", "test"], "many", "test"),
    ],
)
def test_wrong_documents_are_refused(path, value, said):
    with pytest.raises(ValidationError, match=said):
        Report.of(edit(path, value))


def test_fields_are_frozen():
    report = Report.of(sample.sample())
    assert isinstance(report.verdict, VerdictPart)
    with pytest.raises(ValidationError):
        report.verdict.winner = "x"
