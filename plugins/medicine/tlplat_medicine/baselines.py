"""What can be done for a prognosis without transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.tabular import table_of
from tlplat.tasks.base import Task


class CoxRegression(Baseline):
    """Cox's proportional hazards on the labelled patients' own columns, the ridge penalty cross-validated."""

    name: ClassVar[str] = "cox"
    summary: ClassVar[str] = "Cox regression with a ridge penalty on all columns"

    def __init__(self) -> None:
        self._width = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        table = table_of(train.inputs)
        encoder = TableEncoder.fit(table)
        self._width = encoder.width
        z = encoder.encode(table).double()
        fit = task.fit_head(z, train.targets, {})
        weight, bias = fit.weight.double(), fit.bias.double()

        def outputs(rows: torch.Tensor) -> torch.Tensor:
            return rows @ weight.T + bias

        done = task.concluded(outputs(z), train.targets)
        return [done.decode(outputs(encoder.encode(table_of(rows)).double())) for rows in others]

    def inference_cost(self) -> float:
        return float(self._width)

    def parameters(self) -> int:
        return self._width
