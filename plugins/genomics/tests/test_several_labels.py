"""Sequences with any number of labels: tables, titles, labels in a file of their own; run and predicted; bad ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from commandline import tlplat
from tlplat_genomics import userdata
from tlplat_genomics.baselines import KmerLogistic
from tlplat_genomics.domain import GenomicsDomain
from tlplat_genomics.sources import RECIPES

from tlplat.domain import DataOptions
from tlplat.errors import DataError, TlplatError

NAMES = ("at", "gc", "rare")
MOTIFS = {"at": "TATATATATATA", "gc": "GCGCGCGCGCGC", "rare": "CCTTCCTTCCTT"}
"""What a sequence has for its labels; rare stands at one in twelve."""


def made(count, seed=0):
    """(id, sequence, labels) of 100 bases."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(count):
        has = [name for name in ("at", "gc") if rng.random() < 0.5] + ["rare"] * (i % 12 == 3)
        parts = ["".join(rng.choice(list("ACGT"), 12)) for _ in range(8)]
        for place, name in zip((1, 3, 5), NAMES, strict=True):
            parts[place] = MOTIFS[name] if name in has else parts[place]
        rows.append((f"s{i}", "".join(parts) + "ACGT", has))
    return rows


def as_table(rows, separator=";"):
    lines = ["id,sequence,tags,at,gc,rare"]
    lines += [f"{i},{s},{separator.join(has)},{','.join(str(int(n in has)) for n in NAMES)}" for i, s, has in rows]
    return "\n".join(lines) + "\n"


def as_fasta(rows, title):
    return "".join(f">{i} {title(has)}\n{s}\n" for i, s, has in rows)


def as_labels(rows):
    return "id,tags,at,gc,rare\n" + "".join(
        f"{i},{';'.join(has)},{','.join('yes' if n in has else 'no' for n in NAMES)}\n" for i, _, has in rows
    )


@pytest.fixture
def source(registry, tmp_path):
    """A weights file of the domain's small network, random."""
    base = RECIPES["start-site", "cnn"].base
    torch.manual_seed(0)
    torch.save(registry.get("backbones", base.name)(**base.args).state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def target_of(context, source, path, **data):
    domain, options = GenomicsDomain(), GenomicsDomain.Options()
    given = DataOptions(path, **data)
    domain.check(options, given, context)
    return domain.target(options, given, domain.source(str(source), options, context), context)


def test_every_form_says_the_same(context, source, write):
    rows = made(96)
    table, labels = write("a.csv", as_table(rows)), write("labels.csv", as_labels(rows))
    plain = write("plain.fasta", as_fasta(rows, lambda has: ""))
    titled = write("titled.fasta", as_fasta(rows, lambda has: f"label={'|'.join(has)} tags={';'.join(has)}"))
    keyed = write("keyed.fasta", as_fasta(rows, lambda has: " ".join(f"{n}={int(n in has)}" for n in NAMES)))
    forms = [
        (table, {"target": "tags", "label_separator": ";"}),
        (table, {"target": "at,gc,rare"}),
        (plain, {"labels_from": str(labels), "target": "tags", "label_separator": ";"}),
        (plain, {"labels_from": str(labels), "target": "at,gc,rare"}),
        (titled, {"labels_from": "header", "label_separator": "|"}),
        (titled, {"target": "tags", "label_separator": ";"}),
        (keyed, {"target": "at,gc,rare"}),
    ]
    for path, data in forms:
        found = target_of(context, source, path, **data)
        assert found.task.info().options["multi_label"]
        assert found.task.labels == NAMES
        assert found.title == f"{path.name}: any of at, gc, rare"
        got = {i: t.tolist() for part in (found.pool, found.test) for i, t in zip(part.ids, part.targets, strict=True)}
        assert got == {i: [float(n in has) for n in NAMES] for i, _, has in rows}
        assert found.data_card["rows_by_label"]["rare"] == 8
        assert int(found.test.targets[:, 2].sum()) == 4
        assert abs(len(found.test) - 48) < 5


def test_a_label_of_copies_is_refused(context, source, write):
    rows = made(48)
    lonely = [*rows, *[(f"c{i}", rows[0][1], ["lonely"]) for i in range(3)]]
    with pytest.raises(DataError, match=r"(?s)1 of 4 labels.*'lonely': 3 rows, 1 clusters") as caught:
        target_of(context, source, write("a.csv", as_table(lonely)), target="tags", label_separator=";")
    assert caught.value.code == "TL-DATA-CLASS-SMALL"


def test_the_baseline_fits_a_regression_a_label(context, source, write):
    found = target_of(context, source, write("a.csv", as_table(made(160))), target="at,gc,rare")
    (p,) = KmerLogistic(True).fit_predict(found.pool, [found.test.inputs], found.task, 0)
    right = (p >= 0.5) == (found.test.targets.numpy() > 0)
    assert p.shape == (len(found.test), 3)
    assert right[:, :2].mean() > 0.75


def test_titles_without_the_key_lack_a_label_and_empty_ones_have_none(write):
    path = write("a.fasta", ">a label=x;y\nACGT\n>b label=\nACGA\n>c\nACGG\n")
    data = DataOptions(path, labels_from="header", label_separator=";")
    rows = userdata.read_rows(path, data, "sequence", userdata.Limits())
    assert rows.labels == [("x", "y"), (), None]
    with pytest.raises(DataError, match=r"(?s)1 of 3 sequences have no label.*c") as caught:
        userdata.labelled_rows(path, data, "sequence", userdata.Limits())
    assert caught.value.code == "TL-DATA-LABEL-MISSING"


ROWS = made(24)
TAGS = {"target": "tags", "label_separator": ";"}
BAD = "x,ACGTACGTAC,"
BROKEN = {
    "never": ("", {"target": "tags", "label_separator": "|"}, "TL-DATA-LABEL-SEPARATOR", ["no cell", "';'"]),
    "word": (BAD + ",0,perhaps,1\n", {"target": "at,gc"}, "TL-DATA-LABEL-TYPE", ["line 26", "column gc", "perhaps"]),
    "missing": (BAD + ",0,,1\n", {"target": "at,gc"}, "TL-DATA-LABEL-MISSING", ["x"]),
    "once": (BAD + "odd,0,0,0\n", TAGS, "TL-DATA-CLASS-SMALL", ["label 'odd': at 1 of 25 rows"]),
    "column": ("", {"target": "at,cg"}, "TL-DATA-COLUMN", ["'cg'", "did you mean 'gc'"]),
    "both": ("", {"target": "at,gc", "label_separator": ";"}, "TL-USAGE", ["2 columns"]),
    "nowhere": ("", {"label_separator": ";"}, "TL-DATA-COLUMN", ["'label'"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_labels_are_refused_before_a_source_is_loaded(case, context, write):
    more, data, code, words = BROKEN[case]
    domain = GenomicsDomain()
    with pytest.raises(TlplatError) as caught:
        domain.check(domain.Options(), DataOptions(write("a.csv", as_table(ROWS) + more), **data), context)
    said = caught.value.render()
    assert (caught.value.code, [word for word in words if word not in said]) == (code, []), said


def test_ids_twice_and_a_count_of_classes(context, write):
    path = write("a.fasta", as_fasta(ROWS, lambda has: ""))
    labels = write("labels.csv", as_labels(ROWS) + "s0,rare,no,no,yes\n")
    domain = GenomicsDomain()
    with pytest.raises(DataError, match=r"(?s)1 ids stand twice.*'s0'"):
        domain.check(domain.Options(), DataOptions(path, labels_from=str(labels), **TAGS), context)
    with pytest.raises(TlplatError, match="--classes counts"):
        domain.check(domain.Options(classes=3), DataOptions(write("a.csv", as_table(ROWS)), **TAGS), context)


def test_from_data_to_predictions_elsewhere(source, write, tmp_path):
    """check-data, run, report, predict, export: FASTA with labels in a file of their own, through the command line."""
    rows = made(120)
    write("a.fasta", as_fasta(rows, lambda has: ""))
    write("labels.csv", as_labels(rows))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    flags = ("--domain", "genomics", "--data", "a.fasta", "--labels-from", "labels.csv", "--target", "tags")
    flags = (*flags, "--label-separator", ";", "--source", "net.pt", "--json")
    checked = tlplat("check-data", *flags, **place)
    assert checked.code == 0, checked.err
    done = tlplat(
        *("run", *flags, "--offline", "--strategy", "linear_probe,full_ft", "--seeds", "1", "--out", "run"),
        *("--set", "train.steps=4", "--jobs", "1", "--threads", "1"),
        **place,
    )
    assert done.code == 0, done.err
    report = done.document
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"linear_probe", "full_ft", "scratch", "kmer_logistic", "onehot_logistic", "majority"} <= scores.keys()
    assert scores["onehot_logistic"] > 0.8
    (table,) = report["details"][report["verdict"]["winner"]]["tables"]
    assert {row[0] for row in table["rows"]} == {*NAMES, "mean of the labels"}
    assert "Labels: " in (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    said = tlplat("predict", "run", "a.fasta", "--format", "jsonl", **place)
    assert said.code == 0, said.err
    for line in map(json.loads, said.out.splitlines()):
        assert line["prediction"] == [name for name in NAMES if line["probabilities"][name] >= 0.5]
    out = tlplat("export", "run", "-o", "m.safetensors", "--format", "safetensors", "--data", "a.fasta", **place)
    assert out.code == 0, out.err
