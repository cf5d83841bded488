"""The section of an explanation: axis or bars, rows as text, bars or pictures, blocks; and only own pictures."""

import pytest
from pydantic import ValidationError
from report import sample
from report.page import parse
from report.test_charts import check_chart

from tlplat.report import explained
from tlplat.report.document import Report
from tlplat.report.html import render


def section(document):
    return next(
        n
        for n in parse(render(Report.of(document))).all("section")
        if n.attributes.get("aria-labelledby") == "explanation"
    )


def test_places_with_whole_numbers_are_an_axis_and_others_bars():
    report = Report.of(sample.explained())
    figure = explained.positions(report)
    assert figure is not None
    check_chart(parse(str(figure.svg)))
    assert explained.important(report) == ()
    report = Report.of(sample.explained_columns())
    assert explained.positions(report) is None
    assert [(b.name, round(b.width), b.at) for b in explained.important(report)] == [
        ("age", 100, "/explanation/importance/0/value"),
        ("nodes", 67, "/explanation/importance/1/value"),
        ("grade", 33, "/explanation/importance/2/value"),
    ]
    assert [b.side for b in explained.permuted(report)] == ["for", "for", "against"]


def test_pieces_are_coloured_by_what_they_say():
    document = sample.explained()
    (first, *_) = (n for n in section(document).all("p") if "letters" in n.attributes.get("class", ""))
    spans = list(first.all("span"))
    pieces = document["explanation"]["shown"][0]["pieces"]
    assert [s.text for s in spans] == [p["text"] for p in pieces]
    assert [s.attributes["class"] for s in spans] == ["for" if p["value"] >= 0 else "against" for p in pieces]
    longest = max(abs(p["value"]) for p in pieces)
    for s, p in zip(spans, pieces, strict=True):
        assert float(s.attributes["style"].removeprefix("--v:")) == pytest.approx(abs(p["value"]) / longest, abs=0.006)
        assert s.attributes["title"].startswith(p["place"].replace("-", "\u2212"))


def test_blocks_are_a_table_and_a_chart():
    document = sample.explained()
    told = section(document)
    assert "told 97\u00a0% before any adaptation, and random weights tell 45\u00a0%" in told.text
    rows = [[cell.text for cell in n.all("th", "td")] for n in told.all("tr")][1:]
    assert rows[2] == ["conv3", "0.880", "0.890", "0.700", "another"]
    figure = explained.depths(Report.of(document))
    assert figure is not None
    check_chart(parse(str(figure.svg)))
    assert explained.depths(Report.of(sample.explained_columns())) is None


def test_texts_of_rows_are_text():
    document = sample.explained()
    document["explanation"]["look"] = "words"
    document["explanation"]["shown"][0]["pieces"][0]["text"] = " <script>alert(1)</script>\x1b"
    document["explanation"]["shown"][0]["id"] = "<b onload=x>"
    page = render(Report.of(document))
    assert "<script" not in page
    assert "<b onload" not in page
    assert "\x1b" not in page
    assert "alert(1)" in section(document).text


@pytest.mark.parametrize(
    "picture", ["https://example.org/x.png", "data:image/svg+xml;base64,AAAA", 'data:image/png;base64,A" x="']
)
def test_only_a_png_inside_the_document_is_a_picture(picture):
    document = sample.explained_pictures()
    document["explanation"]["shown"][0]["picture"] = picture
    with pytest.raises(ValidationError, match="PNG"):
        Report.of(document)


def test_a_run_that_was_not_explained_has_no_such_section():
    page = render(Report.of(sample.sample()))
    assert "What the model looks at" not in page
