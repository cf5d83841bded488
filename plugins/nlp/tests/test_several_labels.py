"""Texts with any number of labels: read in every form, split, run, predicted, explained, exported; and bad ones."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commandline import tlplat
from tlplat_nlp.baselines import TfidfLogistic
from tlplat_nlp.domain import NlpDomain

from tlplat.domain import DataOptions
from tlplat.errors import DataError, TlplatError
from tlplat.metrics import weighted_auroc

NAMES = ("praise", "rare", "scorn")
GOOD, BAD = ("superb", "wonderful", "brilliant", "charming"), ("dull", "awful", "tedious", "hollow")
FILLER = ("film", "actor", "scene", "story", "camera", "plot", "ending", "script", "director", "the", "a", "is")
"""Words that the tiny encoder knows."""


def made(count, seed=0):
    """(text, labels): praise has a word of GOOD, scorn one of BAD, and rare, at one row in fifteen, the word music."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        has = [name for name, share in (("praise", 0.5), ("scorn", 0.4)) if rng.random() < share]
        has += ["rare"] * (i % 15 == 3)
        words = [
            *rng.choice(FILLER, 12),
            *rng.choice(GOOD, 2 * ("praise" in has)),
            *rng.choice(BAD, 2 * ("scorn" in has)),
        ]
        words += ["music", "music"] * ("rare" in has)
        rows.append((" ".join(rng.permutation(words)), has))
    return rows


def as_csv(rows, separator=";"):
    lines = [["text", "tags", *NAMES]]
    lines += [[text, separator.join(has), *(int(name in has) for name in NAMES)] for text, has in rows]
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue()


def as_jsonl(rows):
    return "".join(json.dumps({"text": text, "tags": has}) + "\n" for text, has in rows)


def as_parquet(rows):
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": [text for text, _ in rows], "tags": [has for _, has in rows]}), out)
    return out.getvalue().to_pybytes()


def target_of(context, folder, path, source_labels=(), **data):
    domain, made = NlpDomain(), NlpDomain.Options()
    given = DataOptions(path, **data)
    domain.check(made, given, context)
    return domain.target(made, given, domain.source(str(folder), made, context), context)


def test_every_form_says_the_same(context, encoder_folder, write):
    rows = made(90)
    forms = {
        "a.csv": (as_csv(rows), {"target": "tags", "label_separator": ";"}),
        "b.csv": (as_csv(rows), {"target": "praise,rare,scorn"}),
        "c.jsonl": (as_jsonl(rows), {"target": "tags"}),
        "d.parquet": (as_parquet(rows), {"target": "tags"}),
    }
    for name, (content, data) in forms.items():
        found = target_of(context, encoder_folder, write(name, content), **data)
        assert found.task.info().options["multi_label"]
        assert found.task.labels == NAMES
        assert found.title == f"{name}: any of praise, rare, scorn"
        got = {i: t.tolist() for part in (found.pool, found.test) for i, t in zip(part.ids, part.targets, strict=True)}
        assert got == {f"row {i}": [float(n in has) for n in NAMES] for i, (_, has) in enumerate(rows, 1)}
        assert found.data_card["rows_by_label"]["rare"] == 6
        assert sum(found.data_card["rows_by_labels_a_row"].values()) == 90
        assert int(found.test.targets[:, 1].sum()) == 2
        assert abs(len(found.test) - 27) < 3
    empty = sum(not has for _, has in rows)
    assert context.warnings[0] == f"{empty} of 90 rows have none of the labels in 'tags', and stay"


def test_columns_keep_the_order_of_the_flag_and_files_the_split(context, encoder_folder, write):
    rows = made(120)
    parts = [write(f"{i}.csv", as_csv(rows[i : i + 40])) for i in (0, 40, 80)]
    found = target_of(context, encoder_folder, parts[0], target="scorn,praise", val_data=parts[1], test_data=parts[2])
    assert found.task.labels == ("scorn", "praise")
    assert found.pool.validation.tolist() == [False] * 40 + [True] * 40
    assert found.test.targets.tolist() == [[float(n in has) for n in ("scorn", "praise")] for _, has in rows[80:]]


def test_near_copies_stay_together_and_a_label_of_copies_is_refused(context, encoder_folder, write):
    rows = made(60)
    rows += [(text + " the", has) for text, has in rows[:20]]
    found = target_of(context, encoder_folder, write("a.jsonl", as_jsonl(rows)), target="tags")
    assert not set(found.pool.groups.tolist()) & set(found.test.groups.tolist())
    lonely = [*made(60), *[("a superb scene of the script and of the plot", ["lonely"])] * 3]
    with pytest.raises(DataError, match=r"(?s)1 of 4 labels.*'lonely': 3 rows, 1 clusters") as caught:
        target_of(context, encoder_folder, write("b.jsonl", as_jsonl(lonely)), target="tags")
    assert caught.value.code == "TL-DATA-CLASS-SMALL"


def test_the_baseline_fits_a_regression_a_label(context, encoder_folder, write):
    found = target_of(context, encoder_folder, write("a.jsonl", as_jsonl(made(240))), target="tags")
    found.pool.targets[:, 1] = 0
    baseline = TfidfLogistic()
    (p,) = baseline.fit_predict(found.pool, [found.test.inputs], found.task, 0)
    assert p.shape == (len(found.test), 3)
    assert (p[:, 1] == 0).all()
    right = (p >= 0.5) == (found.test.targets.numpy() > 0)
    assert right[:, [0, 2]].mean() > 0.9
    assert baseline.parameters() > 0


FLAGS = ("--target", "tags", "--label-separator", ";")
GOOD_ROWS = made(40)
SEPARATOR, TYPE, SMALL = "TL-DATA-LABEL-SEPARATOR", "TL-DATA-LABEL-TYPE", "TL-DATA-CLASS-SMALL"
TWO = "praise,scorn"
BROKEN = {
    "mixed": (as_csv([*GOOD_ROWS, ("film", ["praise|scorn"])]), "tags", ";", SEPARATOR, ["row 41", "'|'"]),
    "never": (as_csv(GOOD_ROWS, "|"), "tags", ";", SEPARATOR, ["no cell", "--label-separator '|'"]),
    "single": ("text,tags\na film,x\na plot,y\n", "tags", ";", SEPARATOR, ["one name a row", "leave out"]),
    "word": (as_csv(GOOD_ROWS) + "film,,0,0,maybe\n", TWO, None, TYPE, ["row 41, column scorn", "maybe", "yes or no"]),
    "missing": (as_csv(GOOD_ROWS) + "a dull film,,0,0,\n", TWO, None, "TL-DATA-LABEL-MISSING", ["row 41"]),
    "always": (as_csv([(t, [*has, "all"]) for t, has in GOOD_ROWS]), "tags", ";", SMALL, ["'all': at 40 of 40 rows"]),
    "once": (as_csv([*GOOD_ROWS, ("a film", ["odd"])]), "tags", ";", SMALL, ["label 'odd': at 1 of 41 rows"]),
    "column": (as_csv(GOOD_ROWS), "praise,scron", None, "TL-DATA-COLUMN", ["'scron'", "did you mean 'scorn'"]),
    "both": (as_csv(GOOD_ROWS), TWO, ";", "TL-USAGE", ["2 columns"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_labels_are_refused_before_a_source_is_loaded(case, context, write):
    content, target, separator, code, words = BROKEN[case]
    domain, data = NlpDomain(), DataOptions(write("a.csv", content), target=target, label_separator=separator)
    with pytest.raises(TlplatError) as caught:
        domain.check(domain.Options(), data, context)
    said = caught.value.render()
    assert (caught.value.code, [word for word in words if word not in said]) == (code, []), said


def test_a_flag_that_is_no_separator_and_a_word_through_the_command_line(write):
    path = write("a.csv", as_csv(GOOD_ROWS) + "a dull film,scorn,0,0,perhaps\n")
    for flags, code, number in (
        (("--target", "tags", "--label-separator", "s"), "TL-USAGE", 2),
        (("--target", "praise,scorn"), "TL-DATA-LABEL-TYPE", 3),
    ):
        outcome = tlplat(
            *("run", "--domain", "nlp", "--data", "a.csv", "--offline", "--out", "run", "--json", *flags),
            cache=path.parent / "cache",
            cwd=path.parent,
        )
        assert (outcome.code, outcome.document["error"]["code"]) == (number, code), outcome.err
        assert sorted(p.name for p in path.parent.iterdir() if p.name != "cache") == ["a.csv"]


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([["praise"], [["scorn"]]], "TL-DATA-LABEL-TYPE", "holds a list"),
        ([[0, 1], [1, 0]], "TL-DATA-LABEL-TYPE", "by position"),
        ([["praise"], "scorn"], "TL-DATA-LABEL-TYPE", "row 2"),
        ([["praise"], None], "TL-DATA-LABEL-MISSING", "row 2"),
    ],
)
def test_lists_that_are_none(context, encoder_folder, write, rows, code, said):
    path = write("a.jsonl", as_jsonl([(f"a film {i}", has) for i, has in enumerate(rows)]))
    with pytest.raises(DataError) as caught:
        target_of(context, encoder_folder, path, target="tags")
    assert caught.value.code == code
    assert said in caught.value.render()


def test_classes_that_look_like_lists_are_told_how_they_are_read(context, encoder_folder, write):
    path = write("a.csv", as_csv([row for row in GOOD_ROWS if row[1]]))
    with pytest.raises(DataError) as caught:
        target_of(context, encoder_folder, path, target="tags")
    assert [w for w in context.warnings if "look like lists" in w and "--label-separator ';'" in w]
    assert "--label-separator ';'" in caught.value.fix


def test_empty_cells_among_lists_are_told_how_to_be_read(context, encoder_folder, write):
    rows = [("a film", []), *made(40)]
    with pytest.raises(DataError) as caught:
        target_of(context, encoder_folder, write("rows.csv", as_csv(rows)), target="tags")
    assert caught.value.code == "TL-DATA-LABEL-MISSING"
    assert "--label-separator ';', where an empty cell means none of them" in caught.value.fix


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoder_folder):
    """A folder with data of 240 rows and a run on them."""
    place = tmp_path_factory.mktemp("several")
    (place / "films.csv").write_text(as_csv(made(240)), encoding="utf-8")
    outcome = tlplat(
        *("run", "--domain", "nlp", "--data", "films.csv", *FLAGS, "--source", str(encoder_folder), "--offline"),
        *("--strategy", "linear_probe,prototype", "--seeds", "1", "--set", "train.steps=2", "--jobs", "1"),
        *("--threads", "1", "--out", "run", "--require", "auroc>=0.7", "--json"),
        cache=place / "cache",
        cwd=place,
    )
    assert outcome.code == 0, outcome.err
    (place / "stdout.json").write_text(json.dumps(outcome.document), encoding="utf-8")
    return place


def test_a_run_reports_labels_one_by_one(place):
    report = json.loads((place / "stdout.json").read_text(encoding="utf-8"))
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"linear_probe", "prototype", "scratch", "tfidf_logistic", "majority"} <= scores.keys()
    assert scores["linear_probe"] > 0.8
    assert scores["majority"] == 0.5
    assert report["task"]["several"]
    (table,) = report["details"][report["verdict"]["winner"]]["tables"]
    assert [row[0] for row in table["rows"]] == ["praise", "scorn", "rare", "mean of the labels"]
    assert table["rows"][0][1] == report["data_card"]["quality"]["test"]["classes"]["praise"]
    shown = [c["mean"] for c in report["candidates"] if c["key"] == report["verdict"]["winner"]]
    assert table["rows"][3][2] == pytest.approx(shown[0], abs=0.05)
    page = (place / "run" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Labels: " in page
    assert "Confusion" not in page
    assert "the most probable label" not in page
    card = (place / "run" / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "of which a row may have any number, or none" in card
    assert "| mean of the labels |" in card


def test_predictions_in_every_form(place, tmp_path):
    new = made(100, seed=5)
    (place / "new.csv").write_text("text\n" + "".join(f"{text}\n" for text, _ in new), encoding="utf-8")

    def predict(*more):
        outcome = tlplat("predict", "run", *more, cache=place / "cache", cwd=place)
        assert outcome.code == 0, outcome.err
        return outcome.out

    lines = [json.loads(line) for line in predict("new.csv", "--format", "jsonl").splitlines()]
    for line in lines:
        assert line["prediction"] == [name for name in NAMES if line["probabilities"][name] >= 0.5]
        assert list(line["calibrated"]) == list(NAMES)
    praised = np.array(["praise" in has for _, has in new])
    assert weighted_auroc(praised, np.array([line["probabilities"]["praise"] for line in lines]))[0] > 0.7
    rows = list(csv.DictReader(io.StringIO(predict("new.csv"))))
    assert [row["prediction"] for row in rows] == [";".join(line["prediction"]) for line in lines]
    assert float(rows[0]["p(scorn)"]) == lines[0]["probabilities"]["scorn"]
    predict("new.csv", "--format", "parquet", "-o", str(tmp_path / "p.parquet"))
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["prediction"] for row in table] == [line["prediction"] for line in lines]


def test_explained_exported_and_from_python(place, tmp_path, context):
    import onnxruntime

    import tlplat as package

    explained = tlplat("explain", "run", "--rows", "2", "--json", cache=place / "cache", cwd=place)
    assert explained.code == 0, explained.err
    shown = explained.document["explanation"]["shown"]
    assert all(isinstance(row["prediction"], list) for row in shown)
    model = package.load_model(place / "run")
    found = model.export(tmp_path / "m.onnx", place / "films.csv")
    said = onnxruntime.InferenceSession(found.path).get_modelmeta().custom_metadata_map
    assert "sigmoid(outputs)" in json.dumps(said)
    assert "0.5" in said["outputs_text"]
    _, inputs = NlpDomain().encode(place / "films.csv", model.loaded.preprocess, context)
    session = onnxruntime.InferenceSession(found.path)
    batch = inputs.take(torch.arange(8))
    (logits,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits.astype(float))), model.decode(place / "films.csv")[:8], atol=1e-4
    )
