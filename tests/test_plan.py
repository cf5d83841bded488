import json

import pytest

from tlplat.plan import ParamGroup, Phase, Ref, TransferPlan, json_hash


def full_plan():
    phase = Phase(
        trainable=("head.*", "*.lora_A.*"),
        learning_rate=1e-3,
        share=0.5,
        weight_decay=0.1,
        groups=(ParamGroup("head.*", 2.0, 0.0),),
        behaviours=(Ref("l2sp", {"alpha": 0.1, "beta": 0.0}),),
    )
    return TransferPlan(start="fitted", edits=(Ref("lora", {"r": 4}),), phases=(phase, phase), fit_options={"folds": 3})


def test_a_plan_survives_json():
    plan = full_plan()
    assert TransferPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError):
        TransferPlan.from_json({**full_plan().to_json(), "stray": 1})


@pytest.mark.parametrize("wrong", [{"start": "freshest"}, {"weights": "sourse"}])
def test_unknown_words_are_refused(wrong):
    with pytest.raises(ValueError, match="not one of"):
        TransferPlan(**wrong)


def test_frozen_means_no_phase():
    assert TransferPlan(start="source_head").frozen
    assert not full_plan().frozen


def test_hash_depends_on_content_and_not_on_order():
    assert json_hash({"a": 1, "b": 2}) == json_hash({"b": 2, "a": 1}) != json_hash({"a": 1, "b": 3})
