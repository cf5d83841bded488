import math
import re

import pytest
from report import sample
from report.page import parse

from tlplat.report import bars, charts, curves, views
from tlplat.report.document import Report
from tlplat.report.labels import place_labels
from tlplat.report.svg import Scale, element, log_ticks, text, tick_text, ticks


def test_scale_maps_and_holds():
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert scale(0) == 100
    assert scale(5) == 50
    assert scale(99) == 0
    log = Scale(0.01, 100.0, 0.0, 4.0, log=True)
    assert log(1) == pytest.approx(2)
    assert log(0) == 0


@pytest.mark.parametrize("values", [[], [0.5], [0.0], [3.0, 3.0], [math.nan, 1.0], [-1.0, 1e9], [1e-9, 2e-9]])
@pytest.mark.parametrize("log", [False, True])
def test_scale_over_anything(values, log):
    scale = Scale.over(values, 0.0, 1.0, log=log)
    assert scale.low < scale.high
    for v in values:
        if math.isfinite(v):
            assert 0 <= scale(v) <= 1
    assert all(scale.low * (1 - 1e-9) - 1e-9 <= t <= scale.high * (1 + 1e-9) + 1e-9 for t in scale.ticks())


def test_ticks_are_round():
    assert ticks(0.82, 0.94, 4) == [0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94]
    assert ticks(0, 300, 4) == [0, 100, 200, 300]
    assert log_ticks(0.005, 30) == [0.01, 0.1, 1, 10]
    assert log_ticks(14, 600) == [20, 50, 100, 200, 500]
    assert [tick_text(t, [0.8, 0.85, 0.9]) for t in (0.8, 0.85, 0.9)] == ["0.80", "0.85", "0.90"]
    assert tick_text(20_000, [0, 20_000]) == "20k"


def test_elements_are_escaped():
    assert element("a", title_='"><script>') == '<a title="&#34;&gt;&lt;script&gt;"></a>'
    assert "<b>" not in text("<b>", 0, 0)


def test_interval_row_puts_the_figures_where_they_are():
    scale = bars.interval_scale([0.8, 0.9])
    row = parse(bars.interval_row(0.85, (0.82, 0.88), scale, "baseline", compare=0.8))
    whisker = next(n for n in row.all("line") if "whisker" in n.attributes["class"])
    ends = [float(whisker.attributes[k].rstrip("%")) for k in ("x1", "x2")]
    assert ends == pytest.approx([scale(0.82), scale(0.88)], abs=0.01)
    holder = next(n for n in row.all("svg") if "x" in n.attributes)
    assert float(holder.attributes["x"].rstrip("%")) == pytest.approx(scale(0.85), abs=0.01)
    assert next(holder.all("path")).attributes["class"] == "mark baseline"


def test_roles_differ_in_shape_too():
    assert charts.mark("transfer", 0, 0).startswith("<circle")
    assert charts.mark("baseline", 0, 0).startswith("<path")


def test_a_value_beyond_the_scale_is_an_arrowhead_at_its_edge():
    row = bars.interval_row(0.5, (0.5, 0.5), Scale(0.8, 0.9, 2, 98), "baseline")
    assert "rotate(-90)" in row
    assert 'x="2%"' in row


def test_the_trivial_baseline_does_not_flatten_the_others():
    _, rows = views.bars(Report.of(sample.sample()))
    assert "rotate(-90)" in rows["majority"]
    assert sum("rotate" in str(row) for row in rows.values()) == 1


def test_undefined_scores_draw_nothing():
    axis, rows = views.bars(Report.of(sample.undefined()))
    assert axis == ""
    assert set(rows.values()) == {""}
    assert views.lead(Report.of(sample.undefined())) is None
    assert views.score_against_time(Report.of(sample.undefined())) is None
    assert views.roc(Report.of(sample.undefined())) is None


def test_lead_strip_reads_both_ways():
    helps, hurts = (str(views.lead(Report.of(f()))) for f in (sample.sample, sample.hurts))
    assert "mark transfer" in helps
    assert "mark baseline" in hurts
    dots = [float(re.search(r'<svg x="([\d.]+)%"', s)[1]) for s in (helps, hurts)]
    assert dots[0] > 50 > dots[1]


@pytest.mark.parametrize("make", sample.ALL.values(), ids=sample.ALL)
def test_every_mark_is_within_its_chart(make):
    report = Report.of(make())
    figures = [*curves.learning_curves(report), *curves.single_curves(report)]
    figures += [views.score_against_time(report), views.score_against_labels(report)]
    figures += [views.roc(report), views.calibration(report)]
    for figure in figures:
        if figure is not None:
            check_chart(parse(str(figure.svg)))
    axis, rows = views.bars(report)
    for strip in (axis, *rows.values(), views.lead(report) or ""):
        for x in re.findall(r'[^a-z](?:x|x1|x2)="(-?[\d.]+)%"', str(strip)):
            assert 0 <= float(x) <= 100


def check_chart(tree):
    left, top, width, height = map(float, next(tree.all("svg")).attributes["viewbox"].split())
    inside = (left - 0.5, top - 0.5, left + width + 0.5, top + height + 0.5)
    names = []
    for node in tree.all("line", "circle", "path", "text"):
        a = node.attributes
        if "transform" in a:
            points = [tuple(map(float, re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", a["transform"]).groups()))]
        elif node.tag == "path":
            points = [tuple(map(float, p)) for p in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", a["d"])]
            assert points
        elif node.tag == "line":
            points = [(float(a["x1"]), float(a["y1"])), (float(a["x2"]), float(a["y2"]))]
        elif node.tag == "circle":
            x, y, r = (float(a[k]) for k in ("cx", "cy", "r"))
            points = [(x - r, y - r), (x + r, y + r)]
        else:
            points = list(text_corners(node))
            if "name" in a.get("class", ""):
                names.append(text_corners(node))
        for x, y in points:
            assert inside[0] <= x <= inside[2], (node.tag, a, node.text)
            assert inside[1] <= y <= inside[3], (node.tag, a, node.text)
    for i, (a, b) in enumerate(names):
        for c, d in names[i + 1 :]:
            assert b[0] <= c[0] + 1 or d[0] <= a[0] + 1 or b[1] <= c[1] + 1 or d[1] <= a[1] + 1, "names overlap"


def text_corners(node):
    width = 5.6 * len(node.text)
    x, y = float(node.attributes["x"]), float(node.attributes["y"])
    start = {"start": x, "middle": x - width / 2, "end": x - width}[node.attributes["text-anchor"]]
    return (start, y - 9), (start + width, y + 2)


def test_line_chart_draws_its_points():
    series = charts.Series("a", "transfer", (((0.0, 0.0), (10.0, 1.0)),))
    axes = charts.Axes("x", "y", x_range=(0, 10), y_range=(0, 1))
    drawn = next(n for n in parse(charts.line_chart([series], axes, "l")).all("path"))
    assert drawn.attributes["d"] == (
        f"M{charts.LEFT:g} {charts.HEIGHT - charts.BOTTOM:g}L{charts.WIDTH - charts.RIGHT:g} {charts.TOP:g}"
    )


def test_mean_curve_stops_where_a_seed_stops():
    report = Report.of(sample.sample())
    points = [p for c in report.candidates if c.key == "l2sp" for p in c.curves]
    last = min(max(p.step for p in points if p.seed == s) for s in range(5))
    mean = curves._mean(curves._lines(points, "train_loss"))
    assert mean[-1][0] == last
    at_zero = [p.train_loss for p in points if p.step == 0]
    assert mean[0][1] == pytest.approx(sum(at_zero) / len(at_zero))


def test_labels_never_cover_each_other_and_give_up_in_a_crowd():
    crowd = [(f"name {i}", 100.0, 100.0) for i in range(60)]
    placed = place_labels(crowd, (0, 0, 200, 200))
    assert any(p is None for p in placed)
    assert sum(p is not None for p in placed) >= 5
