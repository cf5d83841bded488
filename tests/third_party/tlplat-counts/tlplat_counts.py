"""Counts: Poisson regression, by steps or with scikit-learn's solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.linear_model import PoissonRegressor
from torch import Tensor
from torch.nn import functional as F

from tlplat import hookimpl
from tlplat.errors import DataError, Finding
from tlplat.model import TaskInfo
from tlplat.tasks.base import HeadFit, Metric, Task

MOST = 20.0
"""Outputs are logarithms of expected counts, held below this so that no count is infinite."""


@dataclass(frozen=True)
class Deviance:
    """Mean Poisson deviance, twice the log likelihood that is lost against the saturated model."""

    name: str = "poisson_deviance"
    higher_is_better: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        y, mu = targets.astype(np.float64), np.maximum(predictions[:, 0], 1e-9)
        lost = 2 * (np.where(y > 0, y * np.log(np.maximum(y, 1e-9) / mu), 0.0) - y + mu)
        weights = np.ones((1, len(y))) if weights is None else weights
        return np.asarray(weights @ lost / weights.sum(axis=1))


class Counts(Task):
    """How often something happens, given a log-linear rate (McCullagh & Nelder 1989)."""

    name: ClassVar[str] = "counts"
    summary: ClassVar[str] = "counts from 0 on, by Poisson regression"
    trivial_name: ClassVar[str] = "mean"

    def info(self) -> TaskInfo:
        return TaskInfo(self.name, 1, (), {}, frozenset({"loss", "row_loss", "fit_head"}))

    @property
    def metrics(self) -> Sequence[Metric]:
        return [Deviance()]

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        return (1,)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean negative log likelihood in nats, up to what no weight changes."""
        return F.poisson_nll_loss(outputs[:, 0].clamp(max=MOST), targets.to(outputs.dtype))

    def decode(self, outputs: Tensor) -> np.ndarray:
        """Expected counts, (n, 1)."""
        return np.exp(outputs.detach().double().clamp(max=MOST).cpu().numpy())

    def trivial(self, targets: Tensor) -> np.ndarray:
        return np.array([float(targets.double().mean())])

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Poisson regression on standardised features, its penalty chosen by hold-out."""
        mean, scale = z.mean(dim=0), z.std(dim=0, correction=0).clamp(min=1e-6)
        x, counts = ((z - mean) / scale).double().numpy(), y.double().numpy()
        out = np.arange(len(x)) % 5 == 0
        tried = {}
        for decay in options.get("weight_decays", (1e-3, 1e-2, 1e-1, 1.0)):
            model = PoissonRegressor(alpha=decay, max_iter=500).fit(x[~out], counts[~out])
            outputs = torch.from_numpy(np.log(np.maximum(model.predict(x[out]), 1e-9)))[:, None]
            tried[decay] = float(self.loss(outputs, torch.from_numpy(counts[out])))
        best = min(tried, key=tried.__getitem__)
        model = PoissonRegressor(alpha=best, max_iter=500).fit(x, counts)
        weight = torch.from_numpy(model.coef_[None]).float() / scale
        bias = torch.tensor([float(model.intercept_)]) - weight @ mean
        return HeadFit(weight, bias, tried[best], {"weight_decay": best})

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        wrong = torch.nonzero((targets < 0) | (targets > 100_000)).flatten().tolist()
        if wrong:
            raise DataError(
                "TL-DATA-LABEL-RANGE",
                f"{len(wrong)} of {len(targets)} targets are no counts",
                findings=[Finding("no count", f"row {i} ({ids[i]})", str(targets[i].item())) for i in wrong],
                fix="give whole numbers from 0 to 100000",
            )


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Counts]
