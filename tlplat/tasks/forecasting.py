"""Forecasting: quantiles of one number or of several steps ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.errors import DataError, Finding
from tlplat.hookspecs import hookimpl
from tlplat.metrics import RowMean
from tlplat.model import TaskInfo
from tlplat.tasks.base import Evidence, HeadFit, Metric, Task
from tlplat.tasks.linear import ranked_strata, solve_head
from tlplat.tasks.numbers import cloud

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SMOOTH = 0.02
"""Width, in deviations, over which the fit of a head rounds off the pinball loss's corner."""


@dataclass(frozen=True)
class Pinball:
    """Mean pinball loss over quantiles and steps (Koenker & Bassett 1978), in the target's unit.

    ``crps``: weighted by how far apart the quantiles are, which makes twice it an estimate of the continuous ranked
    probability score (Gneiting & Ranjan 2011, eq. 14); beyond the outermost quantiles it takes these for the rest.
    """

    quantiles: tuple[float, ...]
    name: str = "pinball"
    higher_is_better: bool = False
    crps: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return RowMean(self.name, False, self.rows)(targets, predictions, weights)

    def rows(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """(n,) of targets (n, h) and predictions (n, h, q)."""
        levels = np.array(self.quantiles)
        gap = targets[:, :, None] - predictions
        each = np.maximum(levels * gap, (levels - 1) * gap)
        if not self.crps:
            return np.asarray(each.mean(axis=(1, 2)))
        middle = np.r_[0.0, (levels[1:] + levels[:-1]) / 2, 1.0]
        return np.asarray((2 * each * np.diff(middle)).sum(axis=2).mean(axis=1))


@dataclass(frozen=True)
class CoverageError:
    """How far the share of targets inside the outermost quantiles is from what it should be; lower is better."""

    quantiles: tuple[float, ...]
    name: str = "coverage_error"
    higher_is_better: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        held = RowMean(self.name, False, _inside)(targets, predictions, weights)
        return np.asarray(np.abs(held - (self.quantiles[-1] - self.quantiles[0])))


def _inside(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return np.asarray(((targets >= predictions[:, :, 0]) & (targets <= predictions[:, :, -1])).mean(axis=1))


class Forecasting(Task):
    """Quantiles of the next values. Targets are (n, steps) float; predictions (n, steps, quantiles), rising.

    Which rows are the past and which the future is the domain's affair: it splits by time, and gives rows their
    ``spans``, so that folds are blocks of time too.

    Args:
        steps: values ahead that are predicted. quantiles: rising, 0.5 among them, in (0, 1).
        target, unit: what is predicted, in words; a source of the same target, steps and quantiles can be reused.
        metric: the primary one: ``crps`` (default), ``pinball``, ``mae`` (of the median) or ``coverage_error``.
        scale: mean and deviation of the training targets; set by ``settled``.
    """

    name: ClassVar[str] = "forecasting"
    summary: ClassVar[str] = "quantiles of the next values: CRPS, pinball loss, coverage"
    trivial_name: ClassVar[str] = "climatology"
    trivial_summary: ClassVar[str] = "predicts the training targets' quantiles for every row"
    decision_words: str = "the mean of the forecast's quantiles, in standard deviations of the training rows"

    def __init__(
        self,
        steps: int = 1,
        quantiles: Sequence[float] = QUANTILES,
        target: str = "value",
        unit: str = "",
        metric: str = "crps",
        scale: Sequence[float] | None = None,
    ) -> None:
        self.steps, self.target, self.unit, self.metric = steps, target, unit, metric
        self.quantiles = tuple(float(q) for q in quantiles)
        self.scale = None if scale is None else (float(scale[0]), float(scale[1]))
        rising = list(self.quantiles) == sorted(set(self.quantiles))
        if not rising or 0.5 not in self.quantiles or not 0 < self.quantiles[0] < self.quantiles[-1] < 1:
            raise ValueError(f"Forecasting.quantiles must rise within (0, 1) and hold 0.5, not {self.quantiles}")

    def info(self) -> TaskInfo:
        options = {
            "steps": self.steps,
            "quantiles": list(self.quantiles),
            "target": self.target,
            "unit": self.unit,
            "metric": self.metric,
            "scale": None if self.scale is None else list(self.scale),
        }
        offers = frozenset({"loss", "row_loss", "fit_head"})
        return TaskInfo(self.name, self.steps * len(self.quantiles), (), options, offers)

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first."""
        median = self.quantiles.index(0.5)

        def error(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
            return np.asarray(np.abs(targets - predictions[:, :, median]).mean(axis=1))

        found: list[Metric] = [
            Pinball(self.quantiles, "crps", crps=True),
            Pinball(self.quantiles),
            RowMean("mae", False, error),
            CoverageError(self.quantiles),
        ]
        return sorted(found, key=lambda m: m.name != self.metric)

    def metric_unit(self, name: str) -> str:
        return self.unit if name in ("crps", "pinball", "mae") else ""

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        return (self.steps, len(self.quantiles))

    def settled(self, targets: Tensor) -> Forecasting:
        """With mean and standard deviation of the training targets."""
        y = targets.double()
        deviation = float(y.std(correction=0))
        scale = (float(y.mean()), deviation if deviation > 0 else 1.0)
        return Forecasting(**{**self.info().options, "scale": scale})

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean pinball loss over quantiles and steps, in standard deviations."""
        levels, gap = self._gaps(outputs, targets)
        return torch.maximum(levels * gap, (levels - 1) * gap).mean()

    def _smooth_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The pinball loss with a parabola for its corner (Zheng 2011), for solvers that need a gradient."""
        levels, gap = self._gaps(outputs, targets)
        return (levels * gap + SMOOTH * torch.nn.functional.softplus(-gap / SMOOTH)).mean()

    def _gaps(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = self.scale or (0.0, 1.0)
        y = ((targets.double() - mean) / deviation).to(outputs.dtype)
        levels = torch.tensor(self.quantiles, dtype=outputs.dtype, device=outputs.device)
        return levels, y[:, :, None] - outputs.view(-1, self.steps, len(self.quantiles))

    def decode(self, outputs: Tensor) -> np.ndarray:
        """(n, steps, quantiles), sorted so that quantiles do not cross (Chernozhukov et al. 2010)."""
        mean, deviation = self.scale or (0.0, 1.0)
        z = outputs.detach().double().cpu().view(-1, self.steps, len(self.quantiles))
        return np.asarray((z.sort(dim=2).values * deviation + mean).numpy())

    def outputs_text(self) -> str:
        return (
            "quantiles (rows, steps * quantiles), all of the first step first: sort those of each step, then outputs * "
            "options.scale[1] + options.scale[0] is options.target at each of options.quantiles; 0.5 is the prediction"
        )

    def trivial(self, targets: Tensor) -> np.ndarray:
        return np.asarray(np.quantile(targets.double().numpy(), self.quantiles, axis=0).T)

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Linear quantile regression, ridge-penalised, all quantiles and steps at once; judged by the pinball loss."""
        return solve_head(self._smooth_loss, z, y, self.info().outputs, options, self.strata(y), self.loss)

    def takes_head(self, source: TaskInfo) -> bool:
        """A head of the same quantity, steps and quantiles."""
        mine = self.info().options
        same = ("steps", "quantiles", "target", "unit")
        return source.kind == self.name and all(source.options.get(k) == mine[k] for k in same)

    def adopt_head(self, weight: Tensor, bias: Tensor, source: TaskInfo) -> tuple[Tensor, Tensor]:
        """The source's outputs, which are in its own standard deviations, in this task's."""
        (theirs, wide), (ours, narrow) = source.options.get("scale") or (0.0, 1.0), self.scale or (0.0, 1.0)
        return weight * (wide / narrow), (bias * wide + theirs - ours) / narrow

    def strata(self, targets: Tensor) -> Tensor:
        """Bins of equal size by the mean over the steps."""
        return ranked_strata(targets.double().mean(dim=1))

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Finite numbers, one a step."""
        if targets.ndim != 2 or targets.shape[1] != self.steps:
            raise ValueError(f"Forecasting takes (n, {self.steps}) targets, not {tuple(targets.shape)}")
        wrong = torch.nonzero(~torch.isfinite(targets).all(dim=1)).flatten().tolist()
        if wrong:
            raise DataError(
                "TL-DATA-TARGET",
                f"{len(wrong)} of {len(targets)} rows have no finite number for every step of {self.target}",
                findings=[Finding("not a finite number", f"row {i} ({ids[i]})", "NaN or infinite") for i in wrong],
                fix="leave these rows out, or fill in the value",
            )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Mean and deviation."""
        y = targets.double()
        return {"target": {"mean": float(y.mean()), "std": float(y.std(correction=0))}}

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction`` (the median; of the first step where there are several) and ``quantiles``."""
        median = self.quantiles.index(0.5)
        rows = []
        for row in decoded.tolist():
            named = {
                f"{q:g}" if self.steps == 1 else f"{q:g}@{step}": value
                for step, values in enumerate(row, 1)
                for q, value in zip(self.quantiles, values, strict=True)
            }
            rows.append({"prediction": row[0][median], "quantiles": named})
        return rows

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """Share of targets below each quantile, observed against the median, and each step's score."""
        y, p = evidence.targets, evidence.predictions
        axis = f"{self.target} ({self.unit})" if self.unit else self.target
        below = [[q, float((y <= p[:, :, i]).mean())] for i, q in enumerate(self.quantiles)]
        kind, seen = cloud(p[:, :, self.quantiles.index(0.5)].ravel(), y.ravel(), evidence.least)
        metric = self.metrics[0]
        inside = _inside(y, p)
        rows = [
            [f"step {s + 1}", len(y), float(metric(y[:, s : s + 1], p[:, s : s + 1])[0]), float(inside_of(y, p, s))]
            for s in range(self.steps)
        ]
        wanted = 100 * (self.quantiles[-1] - self.quantiles[0])
        return {
            "charts": [
                {
                    "kind": "lines",
                    "title": "Reliability of the quantiles",
                    "x": "quantile",
                    "y": "share of targets below",
                    "series": [{"points": below}],
                    "diagonal": True,
                    "caption": "On the dashed line, a quantile means what it says.",
                },
                {
                    "kind": kind,
                    "title": "Observed against median",
                    "x": f"median of {axis}",
                    "y": f"observed {axis}",
                    "series": [{"points": seen}],
                    "diagonal": True,
                },
            ],
            "tables": [
                {
                    "title": "Steps ahead",
                    "columns": ["step", "rows", metric.name.replace("_", " "), f"inside the {wanted:g} % interval"],
                    "rows": rows,
                    "caption": f"Over all steps {100 * float(inside.mean()):.1f} % lie inside.",
                }
            ],
        }


def inside_of(targets: np.ndarray, predictions: np.ndarray, step: int) -> float:
    """Share of one step's targets within the outermost quantiles."""
    return float(_inside(targets[:, step : step + 1], predictions[:, step : step + 1]).mean())


class LastValue(Baseline):
    """What came last comes again, with quantiles of the changes that the training rows saw.

    Args:
        last: the last value (n,) that a row's inputs hold, in the target's unit; the domain knows where it stands.
    """

    name: ClassVar[str] = "last_value"
    summary: ClassVar[str] = "the last value, with quantiles of past changes around it"

    def __init__(self, last: Callable[[Inputs], np.ndarray]) -> None:
        self.last = last

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        if not isinstance(task, Forecasting):
            raise TypeError(f"last_value forecasts; it serves no {task.name}")
        changes = train.targets.double().numpy() - self.last(train.inputs)[:, None]
        spread = np.quantile(changes, task.quantiles, axis=0).T
        return [self.last(inputs)[:, None, None] + spread[None] for inputs in others]


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Forecasting]
