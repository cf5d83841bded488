"""Charts and tables that a task asks for reach the page, and nothing of the document is lost on the way."""

import copy
import re

import pytest
from report import sample
from report.page import parse
from report.test_charts import check_chart

from tlplat.report.asked import asked
from tlplat.report.document import Report
from tlplat.report.html import render


def figures(document):
    return {f.title: f for f in asked(Report.of(document))}


def test_one_series_of_one_title_is_shared_and_several_are_not():
    found = figures(sample.asked())
    assert set(found) == {
        "Observed against predicted",
        "Survival by risk: l2sp",
        "Survival by risk: one-hot logistic regression",
        "Value of each policy",
    }
    cloud = str(found["Observed against predicted"].svg)
    assert cloud.count("<circle") == 60
    assert cloud.count('class="mark baseline"') == 60
    assert "diagonal" in cloud
    assert [name for _, name in found["Observed against predicted"].legend] == [
        "l2sp",
        "one-hot logistic regression",
    ]


def test_steps_keep_their_height_and_every_group_is_named():
    figure = figures(sample.asked())["Survival by risk: one-hot logistic regression"]
    line = re.search(r'class="line transfer" ?', str(figure.svg))
    assert line
    heights = [p.split()[1] for p in re.findall(r'd="M([^"]+)" class="line transfer"', str(figure.svg))[0].split("L")]
    assert heights[0] == heights[1] != heights[2]
    assert [name for _, name in figure.legend] == [f"group {g}" for g in range(5)]


def test_bars_have_a_name_a_mark_and_a_whisker_where_there_is_an_interval():
    svg = str(figures(sample.asked())["Value of each policy"].svg)
    assert "treat nobody (l2sp)" in svg
    assert svg.count("whisker") == 2
    assert len(re.findall('class="mark', svg)) == 4


def test_a_bar_that_both_candidates_share_is_drawn_once():
    document = sample.asked()
    second = list(document["details"].values())[1]
    chart = copy.deepcopy(next(c for c in second["charts"] if c["kind"] == "bars"))
    second["charts"] = [c for c in second["charts"] if c["kind"] != "bars"] + [chart]
    chart["series"][0]["points"][1][1] += 0.1
    svg = str(figures(document)["Value of each policy"].svg)
    assert len(re.findall('class="mark', svg)) == 3
    assert "treat nobody (" not in svg
    assert "as the model says (l2sp)" in svg


def test_marks_stay_inside():
    for figure in asked(Report.of(sample.asked())):
        check_chart(parse(str(figure.svg)))


def test_tables_show_numbers_as_scores_and_text_as_it_is():
    page = parse(render(Report.of(sample.asked())))
    table = next(t for t in page.all("table") if "covered" in t.text)
    assert [n.text for n in table.all("data")] == ["90 %", "2412", "0.897", "50 %", "< 11", "n/a"]


@pytest.mark.parametrize("kind", ["pie", ""])
def test_another_kind_of_chart_is_refused(kind):
    document = sample.asked()
    document["details"]["l2sp"]["charts"][0]["kind"] = kind
    with pytest.raises(ValueError, match="kind"):
        Report.of(document)
