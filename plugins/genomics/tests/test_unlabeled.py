"""Unlabelled windows on real genomes: the demo's own, and a file's through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commandline import tlplat
from tlplat_genomics.domain import GenomicsDomain, GenomicsOptions

from tlplat.domain import DataOptions

QUICK = ("--seeds", "1", "--jobs", "1", "--threads", "1", "--labels", "24")
STEPS = ("--set", "train.learning_rate=1e-3", "--set", "train.steps=10")
LETTERS = np.array(list("ACGTN"))


def fasta(path, tokens):
    names = (f">new{i}\n{''.join(LETTERS[row])}\n" for i, row in enumerate(tokens))
    path.write_text("".join(names), encoding="utf-8")
    return path


@pytest.mark.network
@pytest.mark.slow
def test_a_run_adapts_to_a_file_of_windows_and_leaves_out_test_rows(real_context, tmp_path):
    """20 windows of the pool and 3 test windows are given; 20 are used, aligned with E. coli's windows."""
    domain, options = GenomicsDomain(), GenomicsOptions()
    source = domain.source("e-coli", options, real_context)
    target = domain.target(options, DataOptions(), source, real_context)
    assert target.unlabeled is target.pool.inputs
    lent = domain.source_rows(source, options, target, real_context)
    assert len(lent) == 4096
    assert abs(float(lent.targets.float().mean()) - 0.5) < 0.02
    rows = np.concatenate([target.pool.inputs.tensor[-20:].numpy(), target.test.inputs.tensor[:3].numpy()])
    file = fasta(tmp_path / "more.fasta", rows)
    strategies = ("--strategy", "continued_pretraining,deep_coral,self_training")
    done = tlplat(
        "run", "--domain", "genomics", *strategies, *QUICK, *STEPS, "--unlabeled", str(file), "--out", "run", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.document
    facts = report["data_card"]["unlabeled"]
    assert (facts["from"], facts["rows_offered"], facts["left_out_as_test_rows"]) == ("more.fasta", 23, 3)
    assert facts["rows"] == 20 - facts["left_out_as_labelled_rows_or_copies"] >= 15
    assert any("3 of 23 unlabelled rows of more.fasta are test rows" in w for w in report["warnings"])
    plans = [json.loads(p.read_text()) for p in sorted((tmp_path / "run" / "trials").glob("deep_coral-*/*/plan.json"))]
    assert plans[0]["phases"][0]["behaviours"][0]["args"]["align"] == "source"


@pytest.mark.network
@pytest.mark.slow
def test_a_dry_run_counts_the_demos_own_and_says_what_is_missing(tmp_path):
    arguments = ("run", "--domain", "genomics", "--dry-run", "--json", *QUICK)
    plan = tlplat(*arguments, "--strategy", "self_training,adabn", cwd=tmp_path).document
    assert plan["labels"]["unlabeled"] > 1000
    assert [s["reason"] for s in plan["skipped"] if s["strategy"] == "adabn"] == [
        "the backbone genomics-stranded-cnn has no batch normalisation whose statistics could be replaced"
    ]
    names = ("promoter", "other")
    rng = np.random.default_rng(0)
    rows = [f">s{i} label={names[i % 2]}\n{''.join(LETTERS[rng.integers(0, 4, 60)])}\n" for i in range(24)]
    (tmp_path / "own.fasta").write_text("".join(rows), encoding="utf-8")
    own = ("--data", "own.fasta", "--labels-from", "header", "--labels", "all")
    more = fasta(tmp_path / "more.fasta", rng.integers(0, 4, (9, 60)))
    without = tlplat(*arguments, *own, "--strategy", "self_training,linear_probe", cwd=tmp_path).document
    assert without["labels"]["unlabeled"] == 0
    assert {s["strategy"]: s["reason"] for s in without["skipped"]}["self_training"] == (
        "self_training needs unlabelled rows of the target: add --unlabeled FILE"
    )
    given = tlplat(*arguments, *own, "--unlabeled", str(more), "--strategy", "self_training", cwd=tmp_path).document
    assert given["labels"]["unlabeled"] == 9
    assert "self_training" in {c["name"] for c in given["candidates"]}
