import json
import re
from itertools import pairwise

import pytest
from report import sample
from report.page import parse

from tlplat.report import model_card, words
from tlplat.report.document import Report
from tlplat.report.html import breakable, confusion, look_up, render, whole


@pytest.fixture(scope="module")
def pages():
    return {name: render(Report.of(make())) for name, make in sample.ALL.items()}


@pytest.fixture(scope="module")
def trees(pages):
    return {name: parse(page) for name, page in pages.items()}


NAMES = list(sample.ALL)


@pytest.mark.parametrize("name", NAMES)
def test_self_contained(name, pages, trees):
    tree = trees[name]
    assert not list(tree.all("script", "link", "iframe", "object", "embed", "image", "use", "base", "form"))
    pictured = list(tree.all("img"))
    assert bool(pictured) == (name == "explained_pictures")
    for node in tree.all():
        if node.tag == "img":
            assert node.attributes.pop("src").startswith("data:image/png;base64,")
            assert node.attributes["alt"]
        assert not {"src", "srcset", "srcdoc", "data", "action", "xlink:href"} & set(node.attributes)
        assert not [a for a in node.attributes if a.startswith("on")]
        if "href" in node.attributes:
            assert re.fullmatch(r"#[\w-]+|report\.json|\.\./[\w./%-]+", node.attributes["href"])
    style = "".join(n.text for n in tree.all("style"))
    assert "url(" not in style
    assert "@import" not in style
    policy = next(n for n in tree.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy")
    shown = "; img-src data:" if pictured else ""
    assert policy.attributes["content"] == f"default-src 'none'; style-src 'unsafe-inline'{shown}"


def test_links_lead_to_the_record_of_each_trial(trees):
    document = Report.of(sample.sample())
    hrefs = {n.attributes["href"] for n in trees["sample"].all("a")}
    assert {f"../{s.trial}/metrics.json" for c in document.candidates for s in c.seeds} <= hrefs
    targets = {n.attributes["id"] for n in trees["sample"].all() if "id" in n.attributes}
    assert {h[1:] for h in hrefs if h.startswith("#")} <= targets


def test_hostile_text_is_text(pages, trees):
    page, tree = pages["hostile"], trees["hostile"]
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert "alert(1)" in tree.text
    assert "49" not in next(n.text for n in tree.all("h1"))
    assert "{{ 7*7 }}" in tree.text
    known = {n.attributes["id"] for n in parse(render(Report.of(sample.sample()))).all() if "id" in n.attributes}
    assert {n.attributes["id"] for n in tree.all() if "id" in n.attributes} <= known


def value_of(text):
    """What a figure's text says, as a list of numbers that it may stand for, with half a unit of its last digit."""
    text = text.replace("\u2212", "-").replace("\u00a0", " ").replace(",", "")
    if match := re.fullmatch(r"([-+]?[\d.]+(?:e[-+]\d+)?) ?(%|[kMGT])?", text):
        number, unit = match.groups()
        scale = {"%": 0.01, None: 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit]
        digits = number.partition(".")[2].partition("e")[0]
        half = 0.5 * 10.0 ** -len(digits)
        if unit not in (None, "%"):
            half = max(half, 0.005 * abs(float(number)))
        return float(number) * scale, half * scale
    seconds = {"h": 3600, "min": 60, "s": 1}
    parts = re.findall(r"([\d.]+) (h|min|s)", text)
    assert parts, text
    smallest = seconds[parts[-1][1]]
    half = 0.05 if smallest == 1 and "." in parts[-1][0] else 0.5 * (smallest if smallest == 1 else 60)
    return sum(float(n) * seconds[u] for n, u in parts), half


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_the_documents(name, trees):
    report = Report.of(sample.ALL[name]())
    document = report.to_json()
    shown = set()
    for node in trees[name].all("data"):
        pointer, text = node.attributes["data-at"], node.text
        if name != "hostile":
            value = look_up(document, pointer)
            assert json.loads(node.attributes["value"]) == value, pointer
            shown.add(pointer)
            if isinstance(value, bool) or not isinstance(value, int | float):
                assert text in (words.general(value), "n/a", "none"), pointer
            elif text != "<0.1 s":
                said, half = value_of(text)
                points = pointer.startswith("/verdict/") and "level" not in pointer and document["metric"]["name"] in (
                    "auroc", "accuracy",
                )  # fmt: skip
                assert said == pytest.approx(value * (100 if points else 1), abs=half * 1.001), pointer
    if name == "hostile":
        return
    for i, c in enumerate(document["candidates"]):
        needed = {"mean", "trained_parameters", "inference_cost", "seconds"}
        assert {f"/candidates/{i}/{k}" for k in needed} <= shown
        assert c["mean"] is None or {f"/candidates/{i}/interval/{k}" for k in (0, 1)} <= shown
        assert {f"/candidates/{i}/seeds/{k}/test" for k in range(len(c["seeds"]))} <= shown
    if document["verdict"] and document["verdict"]["difference"] is not None:
        assert {"/verdict/difference", "/verdict/interval/0", "/verdict/interval/1", "/verdict/level"} <= shown


def test_pointers_of_hostile_keys_are_found(trees):
    pointers = [n.attributes["data-at"] for n in trees["hostile"].all("data")]
    assert any(p.startswith("/run/config/<script src=~1~1evil") for p in pointers)


def test_verdict_comes_first(trees):
    for name, word in (("sample", "helps"), ("ties", "ties"), ("hurts", "hurts")):
        first = next(trees[name].all("section"))
        assert first.attributes["class"] == f"verdict {word}"
        said = first.text.replace("\u00a0", " ").replace("\u2212", "-")
        assert "[" in said
        assert "Use " in said


def test_the_order_of_the_table_and_its_marks(trees):
    table = next(n for n in trees["sample"].all("table") if "candidates" in n.attributes["class"])
    rows = list(table.all("tr"))[1:]
    document = sample.sample()
    expected = sorted(document["candidates"], key=lambda c: -c["mean"])
    assert [next(r.all("span")).text for r in rows] == [c["title"] or c["key"] for c in expected]
    tags = {
        next(r.all("span")).text: [n.text for n in r.all("span") if "tag" in n.attributes["class"].split()]
        for r in rows
    }
    assert tags["l2sp"] == ["chosen with transfer", "use this"]
    assert tags["one-hot logistic regression"] == ["best without"]
    assert {r.attributes["class"].split()[0] for r in rows} == {"transfer", "baseline"}


def test_a_source_used_untouched_is_not_called_a_baseline(trees):
    table = next(n for n in trees["sample"].all("table") if "candidates" in n.attributes["class"])
    families = {next(r.all("span")).text: next(r.all("td")).text for r in list(table.all("tr"))[1:]}
    assert families["zero_shot"] == "source as is"
    assert families["scratch"] == "baseline"
    assert families["lora"] == "structural"
    document = sample.sample()
    document["verdict"] |= {"winner": "zero_shot", "recommended": "zero_shot", "adaptation": None}
    assert "| strategy | zero_shot (source as is) |" in model_card(document)


def test_lower_is_better_is_said_and_sorted(trees):
    table = next(n for n in trees["lower_is_better"].all("table") if "candidates" in n.attributes["class"])
    means = [float(next(r.all("b")).text) for r in list(table.all("tr"))[1:]]
    assert means == sorted(means)
    assert "Lower is better" in trees["lower_is_better"].text


@pytest.mark.parametrize("name", NAMES)
def test_accessible(name, trees):
    tree = trees[name]
    assert next(tree.all("html")).attributes["lang"] == "en"
    assert len(list(tree.all("h1"))) == 1
    levels = [int(n.tag[1]) for n in tree.all("h1", "h2", "h3", "h4")]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [n.attributes["id"] for n in tree.all() if "id" in n.attributes]
    assert len(ids) == len(set(ids))
    for th in tree.all("th"):
        assert th.attributes.get("scope") in ("col", "row", "colgroup")
    outer = [n for n in tree.all("svg") if n.attributes.get("class") and "x" not in n.attributes]
    for svg in outer:
        spoken = svg.attributes.get("role") == "img" and svg.attributes.get("aria-label")
        assert spoken or svg.attributes.get("aria-hidden") == "true"


def test_no_pictographs(pages):
    for page in pages.values():
        assert not re.search("[\u2600-\u27bf\U0001f000-\U0001faff]", page)


def colours(style, dark):
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", blocks[dark]))


def contrast(a, b):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_light_dark_print_and_phone(trees):
    style = next(trees["sample"].all("style")).text
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert "@media print" in style
    assert re.search(r"@media screen and \(max-width: \d+rem\)", style)
    for dark in (0, 1):
        c = colours(style, dark)
        for name in ("text", "muted", "transfer", "baseline", "neutral"):
            assert contrast(c[name], c["ground"]) >= 4.5, (dark, name)
            assert name == "text" or contrast(c[name], c["soft"]) >= 4.5, (dark, name)
    assert contrast(*(colours(style, d)["ground"] for d in (0, 1))) > 10


def test_confusions():
    report = Report.of(sample.many_labels())
    many = confusion("l2sp", report.details["l2sp"], report)
    cells = report.details["l2sp"].confusion
    counts = [cells[i][j] for i, j in many.pairs]
    assert counts == sorted(counts, reverse=True)
    assert all(i != j for i, j in many.pairs)
    document = sample.sample()
    document["details"]["l2sp"]["confusion"] = [[30, "< 11"], [None, 50]]
    page = parse(render(Report.of(document)))
    matrix = next(n for n in page.all("table") if "matrix" in n.attributes["class"])
    assert [n.text for n in matrix.all("data")] == ["30", "< 11", "none", "50"]


def test_missing_parts_leave_no_empty_sections():
    document = sample.sample()
    for key in ("details", "label_curve", "data_card", "source_card", "skipped", "warnings", "run", "budget"):
        document.pop(key)
    for c in document["candidates"]:
        c["curves"], c["plan"] = [], None
    headings = [n.text for n in parse(render(Report.of(document))).all("h2")]
    assert headings == ["Verdict", "All candidates", "What it takes", "What was run"]


def test_text_helpers():
    assert str(breakable("a" * 40)) == f"{'a' * 16}<wbr>{'a' * 16}<wbr>{'a' * 8}"
    assert str(breakable("<b> " + "<" * 24)).startswith("&lt;b&gt; &lt;")
    assert str(whole("is <7> [-1.2, 2.0] here")) == "is &lt;7&gt; [\u22121.2,\u00a02.0] here"
    assert look_up({"a/b": [{"~": 3}]}, "/a~1b/0/~0") == 3
