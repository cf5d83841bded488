"""Regression: one number a row, in its own unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.errors import DataError, Finding
from tlplat.hookspecs import hookimpl
from tlplat.model import TaskInfo
from tlplat.tasks.base import Evidence, HeadFit, Metric, Task
from tlplat.tasks.linear import ranked_strata, solve_ridge
from tlplat.tasks.numbers import MAE, R2, Rmse, Spearman, conformal_radius, number_charts

METRICS: Mapping[str, Metric] = {m.name: m for m in (Rmse(), MAE, R2(), Spearman())}
Scale = tuple[float, float]


class Regression(Task):
    """A number for each row. Outputs are in standard deviations of the training targets, predictions in their unit.

    Targets are (n,) float.

    Args:
        target: what is predicted, in words; a source whose head predicts the same (in whatever scale) can be reused.
        unit: of the numbers, for reports.
        loss: ``mse`` (half the squared error) or ``huber`` (linear beyond one standard deviation; Huber 1964).
        metric: the primary one: ``rmse`` (default), ``mae``, ``r2`` or ``spearman``.
        level: share of new rows that prediction intervals should hold.
        scale: mean and deviation of the training targets; set by ``settled``.
    """

    name: ClassVar[str] = "regression"
    summary: ClassVar[str] = "one number a row: RMSE, MAE, R2, rank correlation; conformal intervals"
    trivial_name: ClassVar[str] = "mean"
    trivial_summary: ClassVar[str] = "predicts the training rows' mean for every row"
    decision_words: str = "the prediction, in standard deviations of the training rows"

    def __init__(
        self,
        target: str = "value",
        unit: str = "",
        loss: Literal["mse", "huber"] = "mse",
        metric: str = "rmse",
        level: float = 0.9,
        scale: Sequence[float] | None = None,
    ) -> None:
        self.target, self.unit, self.kind, self.metric, self.level = target, unit, loss, metric, level
        self.scale: Scale | None = None if scale is None else (float(scale[0]), float(scale[1]))
        if loss not in ("mse", "huber") or metric not in METRICS or not 0 < level < 1:
            raise ValueError(f"Regression has no loss {loss!r}, metric {metric!r} or level {level!r}")

    def info(self) -> TaskInfo:
        options = {
            "target": self.target,
            "unit": self.unit,
            "loss": self.kind,
            "metric": self.metric,
            "level": self.level,
            "scale": None if self.scale is None else list(self.scale),
        }
        return TaskInfo(self.name, 1, (), options, frozenset({"loss", "row_loss", "fit_head"}))

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first."""
        return [METRICS[self.metric], *(m for m in METRICS.values() if m.name != self.metric)]

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def axis(self) -> str:
        """What is predicted, with its unit."""
        return f"{self.target} ({self.unit})" if self.unit else self.target

    def metric_unit(self, name: str) -> str:
        return self.unit if name in ("rmse", "mae") else ""

    def settled(self, targets: Tensor) -> Regression:
        """With mean and standard deviation of the training targets."""
        y = targets.double()
        deviation = float(y.std(correction=0))
        return self._scaled((float(y.mean()), deviation if deviation > 0 else 1.0))

    def _scaled(self, scale: Scale) -> Regression:
        return Regression(**{**self.info().options, "scale": scale})

    def _standard(self, targets: Tensor) -> Tensor:
        mean, deviation = self.scale or (0.0, 1.0)
        return (targets.double() - mean) / deviation

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Half the mean squared error in standard deviations, or Huber's loss with its bend at one of them."""
        y = self._standard(targets).to(outputs.dtype)
        if self.kind == "huber":
            return F.huber_loss(outputs[:, 0], y)
        return 0.5 * F.mse_loss(outputs[:, 0], y)

    def decode(self, outputs: Tensor) -> np.ndarray:
        """(n,) float64 in the target's unit."""
        mean, deviation = self.scale or (0.0, 1.0)
        return np.asarray(outputs.detach().double().cpu().numpy()[:, 0] * deviation + mean)

    def outputs_text(self) -> str:
        return (
            "one number a row: outputs * options.scale[1] + options.scale[0] is the prediction in the target's unit; "
            "calibration.radius on either side of it is the prediction interval"
        )

    def trivial(self, targets: Tensor) -> np.ndarray:
        return np.asarray(targets.double().mean().numpy())

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Ridge regression in closed form, the penalty chosen by cross-validation; also where the loss is Huber's."""
        return solve_ridge(z, self._standard(y)[:, None], options, self.strata(y))

    def takes_head(self, source: TaskInfo) -> bool:
        """A head of the same quantity in the same unit."""
        mine = self.info().options
        return source.kind == self.name and all(source.options.get(k) == mine[k] for k in ("target", "unit"))

    def adopt_head(self, weight: Tensor, bias: Tensor, source: TaskInfo) -> tuple[Tensor, Tensor]:
        """The source's outputs, which are in its own standard deviations, in this task's."""
        (theirs, wide), (ours, narrow) = source.options.get("scale") or (0.0, 1.0), self.scale or (0.0, 1.0)
        return weight * (wide / narrow), (bias * wide + theirs - ours) / narrow

    def strata(self, targets: Tensor) -> Tensor:
        """Bins of equal size by rank."""
        return ranked_strata(targets)

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """One finite number a row."""
        if targets.ndim != 1 or not targets.is_floating_point():
            raise ValueError(f"Regression takes (n,) float targets, not {tuple(targets.shape)} {targets.dtype}")
        wrong = torch.nonzero(~torch.isfinite(targets)).flatten().tolist()
        if wrong:
            raise DataError(
                "TL-DATA-TARGET",
                f"{len(wrong)} of {len(targets)} values of {self.target} are no finite numbers",
                findings=[Finding("not a finite number", f"row {i} ({ids[i]})", "NaN or infinite") for i in wrong],
                fix="leave these rows out, or fill in the value",
            )

    def check_labelled(self, targets: Tensor) -> None:
        """Targets that vary."""
        if len(targets) < 4 or bool((targets == targets[0]).all()):
            raise DataError(
                "TL-DATA-CONSTANT",
                f"{self.target} has one value on all of the {len(targets)} labelled rows"
                if len(targets) > 3
                else f"there are {len(targets)} labelled rows; a split needs at least 4",
                fix="check that the target column is the right one, or label more rows",
            )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Mean, deviation and quartiles."""
        y = targets.double()
        quartiles = torch.quantile(y, torch.tensor([0.25, 0.5, 0.75], dtype=y.dtype)).tolist()
        return {"target": {"mean": float(y.mean()), "std": float(y.std(correction=0)), "quartiles": quartiles}}

    def calibration(self, evidence: Evidence) -> dict[str, Any] | None:
        """Half-width of the prediction interval, from held-out residuals; its coverage on test rows."""
        radius = conformal_radius(evidence.seen - evidence.said, self.level, evidence.rows)
        if radius is None:
            return None
        held = np.abs(evidence.targets - evidence.predictions) <= radius
        return {"level": self.level, "radius": radius, "rows": evidence.rows, "coverage": float(held.mean())}

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction``, and ``low`` and ``high`` where there were rows enough for an interval."""
        if calibration is None:
            return [{"prediction": value} for value in decoded.tolist()]
        radius = float(calibration["radius"])
        return [{"prediction": v, "low": v - radius, "high": v + radius} for v in decoded.tolist()]

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """Observed against predicted, residuals, and the interval's coverage."""
        charts = number_charts(evidence.targets, evidence.predictions, self.axis, evidence.least)
        found = self.calibration(evidence)
        if found is None:
            return {"charts": charts}
        table = {
            "title": "Prediction interval",
            "columns": ["should hold", "test rows", "holds", "half-width"],
            "rows": [[f"{100 * self.level:g} %", len(evidence.targets), found["coverage"], found["radius"]]],
            "caption": f"Half-width: a quantile of the residuals of {evidence.rows} rows that each fit had not seen.",
        }
        return {"charts": charts, "tables": [table]}


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Regression]
