"""What check-data finds of rows with any number of labels: each label is a question of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tlplat.checks.drift import drift
from tlplat.checks.targets import given_away, label_errors, small_classes
from tlplat.data.examples import Examples, TensorInputs
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification

TASK = Classification(["left", "up", "far"], multi_label=True)


def rows(n=200, seed=0, noise=0.1):
    """Each label follows from one number, with noise near its border."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    y = (x[:, :3] + noise * rng.normal(size=(n, 3)) > [0, 0, 0.8]).astype(np.float32)
    return Examples(TensorInputs(torch.from_numpy(x)), torch.from_numpy(y), [f"r{i}" for i in range(n)])


def features(inputs):
    return inputs.tensor


def test_rare_labels_and_nearly_constant_ones_are_small():
    made = rows()
    assert list(small_classes(made, TASK)) == []
    made.targets[:, 0], made.targets[:, 1] = 1, 0
    made.targets[:4, 0], made.targets[:6, 1] = 0, 1
    (issue,) = small_classes(made, TASK)
    assert issue.figures == {"rows": {"left": 4, "up": 6}}
    assert "2 of 3 labels have, or lack, fewer than 10" in issue.message


def test_turned_labels_are_doubted_one_by_one():
    pytest.importorskip("cleanlab")
    made = rows(300)
    assert sum(len(issue.rows) for issue in label_errors(made, features(made.inputs), TASK)) < 12
    turned = {(i, c) for c in range(3) for i in range(c, 300, 30)}
    for i, c in turned:
        made.targets[i, c] = 1 - made.targets[i, c]
    (issue,) = label_errors(made, features(made.inputs), TASK)
    said = set(issue.rows)
    planted = {f"r{i}: rather {'not ' if made.targets[i, c] else ''}{TASK.labels[c]}" for i, c in turned}
    assert len(said & planted) >= 0.8 * len(said) > 0
    assert len(said & planted) >= 20
    rows_said = {row.partition(":")[0] for row in said}
    assert {f"r{i}" for i in issue.left_out} <= rows_said
    assert len(issue.left_out) > 15
    assert issue.message.startswith(f"{len(said)} labels of {len(rows_said)} of 300 rows are doubtful")


def test_an_input_that_is_one_of_the_labels():
    made = rows(noise=0.3)
    assert list(given_away(made, TASK)) == []
    x = made.inputs.tensor.clone()
    x[:, 4] = made.targets[:, 1] + 0.1 * x[:, 4].abs().clamp(max=3)
    (issue,) = given_away(dataclasses.replace(made, inputs=TensorInputs(x)), TASK)
    assert list(issue.figures["auroc"]) == ["input 5 (up)"]


def test_frequencies_and_meanings_that_differ_from_the_sources():
    source, head = rows(600, 1), TASK.fit_head(rows(600, 1).inputs.tensor, rows(600, 1).targets, {})
    model = SourceModel("made", Ref("none", {}), {}, {"weight": head.weight, "bias": head.bias}, TASK.info(), {}, {})

    def kinds(made, task=TASK):
        return {issue.kind: issue for issue in drift(source, made, features, model, task)}

    assert kinds(rows(400, 2)) == {}
    turned = rows(400, 2)
    turned.targets[:, :2] = 1 - turned.targets[:, :2]
    found = kinds(turned)
    assert found["concept_shift"].figures["seen"] < 0.5 < found["concept_shift"].figures["expected"]
    rarer = rows(400, 2)
    rarer.targets[::2, 1] = 0
    assert list(kinds(rarer)["label_shift"].figures["source_target"]) == ["up"]
    exclusive = Classification(TASK.labels)
    one = dataclasses.replace(rows(400, 2), targets=torch.arange(400) % 3)
    assert kinds(one, exclusive) == {}
