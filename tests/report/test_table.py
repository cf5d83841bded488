import io

import pytest
from report import sample
from rich.cells import cell_len
from rich.console import Console

from tlplat.report import print_table


def printed(document, width=80, encoding="utf-8", terminal=False):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    colours = "standard" if terminal else None
    print_table(document, Console(file=stream, width=width, force_terminal=terminal, color_system=colours))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [24, 40, 58, 80, 140])
@pytest.mark.parametrize("make", sample.ALL.values(), ids=sample.ALL)
def test_fits(make, width):
    assert all(cell_len(line) <= width for line in printed(make(), width).splitlines())


def test_says_what_counts_in_80_columns():
    text = printed(sample.sample())
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "0.926 [0.917, 0.933]" in rows["* l2sp"]
    assert "52.5 k" in rows["* l2sp"]
    assert "16 s" in rows["* l2sp"]
    assert "0.856" in rows["o one-hot logistic regression"]
    flat = " ".join(text.split())
    assert flat.index("majority class") < flat.index("Transfer helps: l2sp is 7.3 points of AUROC [5.1, 9.6] above")
    assert "Use l2sp." in flat
    assert "not run: side_network" in flat


def test_every_candidate_is_there_best_first():
    document = sample.sample()
    lines = printed(document, 100).splitlines()
    order = [c["title"] or c["key"] for c in sorted(document["candidates"], key=lambda c: -c["mean"])]
    found = [line[2:].split("  ")[0] for line in lines[2:12]]
    assert found == order
    assert "family" in lines[1]


def test_plain_where_there_is_no_terminal():
    text = printed(sample.sample())
    assert "\x1b" not in text
    assert text.isascii() or set(text) - set(map(chr, range(128))) == {"\u00a0"}
    assert "\x1b[" in printed(sample.sample(), terminal=True)


def test_ascii_consoles_work():
    document = sample.sample()
    document["task"]["title"] = "E. coli \u2192 S. aur\u00e9us"
    text = printed(document, encoding="ascii")
    assert text.startswith("E. coli -> S. aur?us\n")


def test_hostile_names_cannot_steer_the_terminal():
    text = printed(sample.hostile(), 200)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\\x1b[31m" in text


def test_markup_in_names_is_text():
    document = sample.sample()
    document["candidates"][0]["title"] = "[red]x[/red]"
    assert "[red]x[/red]" in printed(document, 100)


def test_who_was_ahead_by_luck_is_told():
    document = sample.sample()
    ahead = {"candidate": "lp_ft", "difference": 0.0089, "error": 0.0184}
    made = {"steps": 60, "finalists": 2, "rungs": [], "winner": "full_ft", "ahead": ahead}
    document["search"] = {"rounds": [made], "round": 0}
    told = "lp_ft was ahead of full_ft on validation by 0.009 (standard error 0.018): not clearly, so it did not win."
    assert told in " ".join(printed(document).split())
    made["ahead"] = None
    assert "was ahead" not in printed(document)
