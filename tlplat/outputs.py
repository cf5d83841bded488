"""The output layer of a network from outside of tlplat, read as a task and a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tlplat.errors import ModelError
from tlplat.model import TaskInfo
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression


def task_of_outputs(outputs: int, says: str, labels: Sequence[str], path: Path) -> TaskInfo | None:
    """What the layer predicts: classes, numbered unless named, or one number; None where that is not known.

    Args:
        outputs: of the layer. says: its activation (``linear``, ``softmax``, ``sigmoid``, ...). labels: class names, or
            none.

    Raises:
        ModelError TL-MODEL-LABELS: another count of labels than of classes.
    """
    if outputs == 1 and says != "sigmoid":
        return Regression().info() if says == "linear" else None
    classes = 2 if outputs == 1 else outputs
    if labels and len(labels) != classes:
        raise ModelError(
            "TL-MODEL-LABELS",
            f"{len(labels)} labels were given for the {classes} outputs of {path.name}",
            where=str(path),
            found=", ".join(labels[:10]),
            fix="name the class of each output, in order, or none",
        )
    names = list(labels) or [str(i) for i in range(classes)]
    return Classification(names, multi_label=says == "sigmoid" and outputs > 1).info()


def head_of_outputs(weight: Tensor, bias: Tensor, says: str) -> dict[str, Tensor]:
    """Weight (outputs, d) and bias (outputs,); one sigmoid becomes two logits, the first of which is 0."""
    if len(weight) == 1 and says == "sigmoid":
        weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
    return {"weight": weight, "bias": bias}
