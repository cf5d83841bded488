import dataclasses
import json

import numpy as np
import pytest
import torch

from tlplat import features
from tlplat.cache import TensorCache
from tlplat.data.splits import FOLDS
from tlplat.halving import climb
from tlplat.rounds import everyone
from tlplat.selection import Search
from tlplat.storage import read_tensors
from tlplat.testing.workbench import toybench
from tlplat.trial import BaselineCandidate, Trivial


def search(registry, tmp_path, labels=40, seeds=(0, 1), **more):
    bench = toybench(registry, labels=labels, **more)
    found = Search(bench.bench, [], bench.labelled, bench.target.test, tmp_path / "trials", list(seeds))
    return bench, found


def over(made, *candidates):
    return dataclasses.replace(made, candidates=list(candidates))


def doing(made):
    """Carries out jobs one by one in this process."""

    def carry_out(jobs):
        for job in jobs:
            made.do(job)

    return carry_out


def tree(folder):
    """Every file's bytes but the timings."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "timing.json"}


def test_every_setting_is_tried_on_the_first_seed_and_the_best_goes_on(registry, tmp_path):
    bench, made = search(registry, tmp_path)
    made = over(made, bench.candidate("full_ft"))
    chosen = climb(made, doing(made), everyone(made), 1, 1.0).chosen[0]
    scores = {v.candidate.hyperparameters["learning_rate"]: v.score for v in chosen.tried}
    assert len(scores) == 3
    rate, top = chosen.candidate.hyperparameters["learning_rate"], max(scores, key=scores.__getitem__)
    first = {v.candidate.hyperparameters["learning_rate"]: v for v in chosen.tried}
    assert rate == top or (rate == 1e-3 and scores[top] - scores[rate] <= made.error([first[top]], [first[rate]]))
    assert [v.seed for v in chosen.validated] == [0, 1]
    assert chosen.validation == pytest.approx(np.mean([v.score for v in chosen.validated]))


def test_out_of_fold_predictions_cover_every_labelled_row_once(registry, tmp_path):
    bench, made = search(registry, tmp_path)
    validated = made.validate(bench.candidate("linear_probe"), 0)
    tensors, _ = read_tensors(validated.folder / "validation.safetensors")
    assert sorted(tensors["rows"].tolist()) == list(range(40))
    metric = bench.target.task.metrics[0]
    targets = bench.labelled.targets[tensors["rows"]].numpy()
    assert validated.score == pytest.approx(metric(targets, tensors["predictions"].numpy())[0])
    assert validated.record["validation"]["folds"] == FOLDS


def test_features_are_extracted_once_for_strategies_settings_seeds_and_folds(registry, tmp_path, monkeypatch):
    bench, made = search(registry, tmp_path)
    empty = features.FeatureStore(TensorCache(tmp_path / "cache", print), registry)
    made = dataclasses.replace(made, bench=dataclasses.replace(made.bench, store=empty))
    extracted, apply = [], features.apply_in_batches

    def counted(module, model, inputs):
        extracted.append(len(inputs))
        return apply(module, model, inputs)

    monkeypatch.setattr(features, "apply_in_batches", counted)
    for name in ("linear_probe", "prototype", "lp_ft"):
        for seed in (0, 1):
            made.finish(made.validate(bench.candidate(name), seed))
    assert sorted(extracted) == [len(bench.labelled), len(bench.target.test)]


def test_two_searches_leave_the_same_bytes(registry, tmp_path):
    trees = []
    for name in ("a", "b"):
        bench, made = search(registry, tmp_path / name, steps=12)
        for candidate in (
            bench.candidate("lora"),
            bench.candidate("truncate"),
            BaselineCandidate(Trivial(bench.bench.task)),
        ):
            for setting in candidate.settings():
                for seed in (0, 1):
                    made.finish(made.validate(setting, seed))
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1]


def test_a_finished_trial_is_read_back_and_not_run_again(registry, tmp_path, monkeypatch):
    bench, made = search(registry, tmp_path)
    candidate = bench.candidate("l2sp")
    first = made.validate(candidate, 0)
    final = made.finish(first)
    monkeypatch.setattr(type(candidate), "run", None)
    again = made.validate(candidate, 0)
    assert again.record["validation"] == first.record["validation"]
    np.testing.assert_array_equal(made.finish(again).predictions, final.predictions)


def test_with_a_hold_out_the_final_fit_takes_the_steps_that_validation_chose(registry, tmp_path):
    bench, made = search(registry, tmp_path, labels=240, seeds=(0,), steps=80)
    assert made.fold_count == 1
    validated = made.validate(bench.candidate("full_ft", learning_rate=1e-2), 0)
    assert validated.record["validation"]["rows"] == 48
    [best] = validated.record["validation"]["decision"]["stop_at"]
    assert 0 < best <= 80
    final = made.finish(validated)
    assert final.record["steps"] == best


def test_a_killed_trial_goes_on_and_ends_the_same(registry, tmp_path, monkeypatch):
    bench, made = search(registry, tmp_path / "whole")
    candidate = bench.candidate("lora")
    wanted = made.finish(made.validate(candidate, 0)).predictions
    bench, made = search(registry, tmp_path / "killed")
    calls = iter(range(100))
    original = type(candidate).run

    def dying(self, *args, **more):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **more)

    monkeypatch.setattr(type(candidate), "run", dying)
    with pytest.raises(KeyboardInterrupt):
        made.validate(candidate, 0)
    monkeypatch.setattr(type(candidate), "run", original)
    np.testing.assert_array_equal(made.finish(made.validate(candidate, 0)).predictions, wanted)


def test_metrics_of_a_trial_hold_no_clock_and_name_every_metric(registry, tmp_path):
    bench, made = search(registry, tmp_path, seeds=(0,))
    final = made.finish(made.validate(bench.candidate("full_ft"), 0))
    record = json.loads((final.validated.folder / "metrics.json").read_text())
    assert set(record["test"]) == {m.name for m in bench.target.task.metrics}
    assert "seconds" not in json.dumps(record)
    assert final.seconds > 0
    assert not (final.validated.folder / "checkpoint").exists()
    assert torch.get_num_threads() == 1
