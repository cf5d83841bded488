import pytest
from report import sample

from tlplat.report import findings, words
from tlplat.report.document import MetricPart, Report

AUROC = words.KNOWN["auroc"]
LOSS = words.KNOWN["log_loss"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.score(0.92814), "0.928"),
        (words.score(None), "n/a"),
        (words.score(1234.5678), "1,235"),
        (words.score(3.2e7), "3.2e+07"),
        (words.interval([0.9, None]), "[0.900, n/a]"),
        (words.interval([None, None]), "n/a"),
        (words.points(0.0731, AUROC), "7.3"),
        (words.points(0.0731, AUROC, signed=True), "+7.3"),
        (words.points(-0.0004, AUROC, signed=True), "0.0"),
        (words.points(-0.0731, LOSS, signed=True), "-0.073"),
        (words.points_interval([-0.124, -0.07], AUROC, -1), "[7.0, 12.4]"),
        (words.compact(138_242), "138 k"),
        (words.compact(4_650_000), "4.65 M"),
        (words.compact(999_999), "1 M"),
        (words.compact(0), "0"),
        (words.compact(401), "401"),
        (words.duration(0.02), "<0.1 s"),
        (words.duration(9.96), "10 s"),
        (words.duration(80), "1 min 20 s"),
        (words.duration(59.7), "1 min"),
        (words.duration(7500), "2 h 5 min"),
        (words.percent(0.95), "95\u00a0%"),
        (words.percent(0.992857), "99.3\u00a0%"),
        (words.general(True), "yes"),
        (words.general(4639675), "4,639,675"),
        (words.general(1e-3), "0.001"),
        (words.minus("[-1.2, -0.1] 3-mer lp-2"), "[\u22121.2, \u22120.1] 3-mer lp-2"),
    ],
)
def test_figures(said, expected):
    assert said == expected


SENTENCES = {
    sample.sample: "Transfer helps: l2sp is 7.3 points of AUROC [5.1, 9.6] above one-hot logistic regression, "
    "the best without transfer.",
    sample.ties: "Transfer makes no clear difference: l2sp is 0.4 points of AUROC above scratch, the best without "
    "transfer, and the interval [-1.2, 2.0] includes zero.",
    sample.no_better_than_scratch: "Transfer makes no clear difference: l2sp is 7.3 points of AUROC [5.1, 9.6] above "
    "one-hot logistic regression, the best without transfer by validation, but not clearly better than the same "
    "network trained from random weights (+0.4 points of AUROC [-1.2, 2.0]).",
    sample.hurts: "Transfer hurts: l2sp, the best transferred model, is 9.9 points of AUROC [7.0, 12.4] below "
    "one-hot logistic regression, made without transfer.",
    sample.lower_is_better: "Transfer helps: l2sp is 0.073 in log loss [0.051, 0.096] better than one-hot logistic "
    "regression, the best without transfer.",
    sample.undefined: "No verdict: AUROC is undefined here, so l2sp and one-hot logistic regression cannot be told "
    "apart.",
    sample.no_verdict: "No verdict: there was no transferred model to compare with one made without transfer.",
}


@pytest.mark.parametrize(("make", "sentence"), SENTENCES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_sentences(make, sentence):
    assert findings.verdict_sentence(Report.of(make())) == sentence


def test_the_documents_own_sentence_stands():
    document = sample.sample()
    document["verdict"]["sentence"] = "As the runner says."
    assert findings.verdict_sentence(Report.of(document)) == "As the runner says."


def test_a_difference_of_nothing():
    document = sample.ties()
    document["verdict"] |= {"difference": 0.0, "interval": [-0.01, 0.01]}
    assert "l2sp scores the same as scratch" in findings.verdict_sentence(Report.of(document))


def test_advice():
    assert findings.advice(Report.of(sample.sample())) == "Use l2sp. It is the model in model/."
    hurts = findings.advice(Report.of(sample.hurts()))
    assert hurts.startswith("Use one-hot logistic regression.")
    assert "model/ still holds l2sp" in hurts
    assert findings.advice(Report.of(sample.ties())).startswith("Use scratch, which is the cheaper of the two")
    assert findings.advice(Report.of(sample.no_better_than_scratch())) == "Use l2sp. It is the model in model/."
    assert findings.advice(Report.of(sample.undefined())).startswith("Nothing can be recommended")


def test_remarks():
    told = " ".join(findings.remarks(Report.of(sample.hurts())))
    assert "Negative transfer: the same network trained from random weights does better than l2sp" in told
    assert "(-5.5 points of AUROC [-8.1, -3.0])" in told
    assert "Adapting paid: l2sp beats" in told
    assert "Adapting made no clear difference" in " ".join(findings.remarks(Report.of(sample.sample())))
    document = sample.sample()
    document["verdict"]["adaptation"] = {"difference": -0.02, "interval": [-0.03, -0.01]}
    assert "Adapting did harm" in " ".join(findings.remarks(Report.of(document)))


def test_a_better_loser_on_test_is_told_and_only_then():
    document = sample.sample()
    best = max(document["candidates"], key=lambda c: c["mean"])
    assert best["key"] != "l2sp"
    assert any("Another candidate scores higher on test" in r for r in findings.remarks(Report.of(document)))
    winner = next(c for c in document["candidates"] if c["key"] == "l2sp")
    winner["mean"], winner["interval"] = 0.99, [0.98, 0.995]
    assert not any("Another candidate" in r for r in findings.remarks(Report.of(document)))


def test_a_difference_has_the_metrics_unit():
    metric = MetricPart(name="rmse", higher_is_better=False, unit="cm")
    assert words.metric_words(metric).unit == "cm of RMSE"
    assert words.metric_words(MetricPart(name="rmse", higher_is_better=False)).unit == "in RMSE"
    assert words.metric_words(MetricPart(name="recall_at_1", higher_is_better=True)).unit == "points of recall@1"
