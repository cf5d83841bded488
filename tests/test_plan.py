import json

import pytest

from tlplat.plan import Member, ParamGroup, Phase, Ref, TransferPlan, json_hash


def full_plan():
    phase = Phase(
        trainable=("head.*", "*.lora_A.*"),
        learning_rate=1e-3,
        share=0.5,
        weight_decay=0.1,
        groups=(ParamGroup("head.*", 2.0, 0.0),),
        behaviours=(Ref("l2sp", {"alpha": 0.1, "beta": 0.0}),),
    )
    return TransferPlan(
        start="fitted",
        edits=(Ref("lora", {"r": 4}),),
        phases=(phase, phase),
        members=(Member(0.5, share=0.25), Member(weight_decay=0.3, seed_offset=1, share=0.75)),
        combine="interpolate",
        coefficients=(0.0, 0.5, 1.0),
        fit_options={"folds": 3},
    )


def test_a_plan_survives_json():
    plan = full_plan()
    assert TransferPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError):
        TransferPlan.from_json({**full_plan().to_json(), "stray": 1})


@pytest.mark.parametrize("wrong", [{"start": "freshest"}, {"weights": "sourse"}, {"combine": "mean"}])
def test_unknown_words_are_refused(wrong):
    with pytest.raises(ValueError, match="not one of"):
        TransferPlan(**wrong)


PHASES = (Phase(trainable=("*",), learning_rate=1e-3),)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"members": ()}, "not 1 to 5"),
        ({"members": (Member(share=0.1),) * 6}, "not 1 to 5"),
        ({"members": (Member(share=0.6),) * 2}, r"1\.2 of the steps"),
        ({"combine": "interpolate"}, "coefficients"),
        ({"combine": "interpolate", "coefficients": (0.0, 1.5)}, "coefficients"),
        ({"combine": "interpolate", "coefficients": (0.5, 0.5)}, "coefficients"),
        ({"combine": "average", "coefficients": (0.5,)}, "coefficients"),
        ({"phases": (), "combine": "average"}, "need phases"),
        ({"phases": (), "members": (Member(share=0.5),) * 2}, "need phases"),
    ],
)
def test_members_that_cannot_be_carried_out_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        TransferPlan(**{"phases": PHASES, **wrong})


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.1}, {"rate_scale": 0.0}, {"rate_scale": float("nan")}])
def test_a_members_share_and_rate_are_checked(wrong):
    with pytest.raises(ValueError, match="Member"):
        Member(**wrong)


def test_a_member_overrides_rate_and_decay_of_every_phase():
    phases = (PHASES[0], Phase(trainable=("head.*",), learning_rate=1e-2, weight_decay=0.2))
    scaled = Member(rate_scale=2.0).phases(phases)
    assert [p.learning_rate for p in scaled] == [2e-3, 2e-2]
    assert [p.weight_decay for p in scaled] == [0.0, 0.2]
    assert [p.weight_decay for p in Member(weight_decay=0.5).phases(phases)] == [0.5, 0.5]
    assert Member().phases(phases) == phases


def test_frozen_means_no_phase():
    assert TransferPlan(start="source_head").frozen
    assert not full_plan().frozen


def test_hash_depends_on_content_and_not_on_order():
    assert json_hash({"a": 1, "b": 2}) == json_hash({"b": 2, "a": 1}) != json_hash({"a": 1, "b": 3})
