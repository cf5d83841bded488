"""Survival: the time to an event, where some rows were only watched for a while (censored)."""

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
from tlplat.tasks.cox import cumulative_hazard, newton, partial_loss
from tlplat.tasks.durations import Concordance, IntegratedBrier, kaplan_meier
from tlplat.tasks.linear import Standard, decays_of, folds_of, solve_head
from tlplat.tasks.netbenefit import by_time, decision_curve

POINTS = 20
RISK_GROUPS = ("low risk", "middle", "high risk")
LARGEST_SCORE, SMALLEST = 50.0, 1e-12


class Survival(Task):
    """Time to an event. Targets are (n, 2) float: the time, and 1 where the event came then, 0 where watching ended.

    Predictions are (n, 1 + times): a risk (higher is earlier), then the share expected to survive beyond each time.

    Args:
        times: rising, where survival is predicted and the Brier score is taken; see :meth:`over`.
        method: ``cox`` (proportional hazards: one log risk a row, the loss is over the whole batch as a risk set) or
            ``discrete`` (one hazard for each interval between ``times``, Gensheimer & Narasimhan 2019: a loss a row).
        ties: ``efron`` or ``breslow``; only for ``cox``.
        unit: of time. metric: the primary one: ``concordance`` (default), ``uno_concordance`` or ``integrated_brier``.
        horizon: one of ``times``, by which somebody will act on the risk: reports show the decision curve there.
        hazard: baseline cumulative hazard at ``times``; set by ``settled`` and ``concluded``.
    """

    name: ClassVar[str] = "survival"
    summary: ClassVar[str] = "time to an event under censoring: Cox or discrete time; concordance, integrated Brier"
    loss_unit: Literal["row", "set"] = "set"
    trivial_name: ClassVar[str] = "kaplan_meier"
    trivial_summary: ClassVar[str] = "predicts the training rows' Kaplan-Meier curve for every row"
    decision_words: str = "the risk (higher is earlier)"

    def __init__(
        self,
        times: Sequence[float],
        method: Literal["cox", "discrete"] = "cox",
        ties: Literal["efron", "breslow"] = "efron",
        unit: str = "days",
        metric: str = "concordance",
        horizon: float | None = None,
        hazard: Sequence[float] | None = None,
    ) -> None:
        self.times = tuple(float(t) for t in times)
        self.method, self.ties, self.unit, self.metric = method, ties, unit, metric
        self.horizon = None if horizon is None else float(horizon)
        self.hazard = None if hazard is None else tuple(float(h) for h in hazard)
        if list(self.times) != sorted(set(self.times)) or not self.times or self.times[0] <= 0:
            raise ValueError(f"Survival.times must rise from above 0, not {self.times}")
        if method not in ("cox", "discrete") or ties not in ("efron", "breslow"):
            raise ValueError(f"Survival has no method {method!r} or ties {ties!r}")
        if self.horizon is not None and self.horizon not in self.times:
            raise ValueError(f"Survival.horizon must be one of the times, not {self.horizon:g}")
        cox = method == "cox"
        self.loss_unit, self.least_batch, self.concludes = "set" if cox else "row", 256 if cox else 1, cox

    @classmethod
    def example(cls) -> Survival:
        return cls(times=[1.0, 2.0, 3.0])

    @classmethod
    def over(cls, targets: Tensor, points: int = POINTS, **options: Any) -> Survival:
        """With ``points`` times at evenly spaced quantiles of the event times in ``targets``, the tenth to the last."""
        events = targets[targets[:, 1] > 0.5, 0].double()
        marks = torch.quantile(events, torch.linspace(0.1, 0.95, points, dtype=events.dtype))
        return cls(times=sorted({float(t) for t in marks if t > 0}), **options)

    @property
    def cox(self) -> bool:
        return self.method == "cox"

    def info(self) -> TaskInfo:
        options: dict[str, Any] = {
            "times": list(self.times),
            "method": self.method,
            "ties": self.ties,
            "unit": self.unit,
            "metric": self.metric,
            "hazard": None if self.hazard is None else list(self.hazard),
        }
        options |= {} if self.horizon is None else {"horizon": self.horizon}
        offers = {"loss", "fit_head"} | (set() if self.cox else {"row_loss"})
        return TaskInfo(self.name, 1 if self.cox else len(self.times), (), options, frozenset(offers))

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first."""
        found: list[Metric] = [
            Concordance(),
            IntegratedBrier(self.times),
            Concordance("uno_concordance", uno=True),
        ]
        return sorted(found, key=lambda m: m.name != self.metric)

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        return (1 + len(self.times),)

    def settled(self, targets: Tensor) -> Survival:
        """With the Nelson-Aalen hazard of the training rows, until a fitted model gives a better one."""
        return self.concluded(torch.zeros(len(targets), 1), targets)

    def concluded(self, outputs: Tensor, targets: Tensor) -> Survival:
        """With Breslow's baseline hazard for the model's log risks (n, 1) of the training rows."""
        if not self.cox:
            return self
        scores = outputs[:, 0].detach().double().cpu().clamp(-LARGEST_SCORE, LARGEST_SCORE)
        hazard = cumulative_hazard(scores, targets, torch.tensor(self.times, dtype=torch.float64))
        return Survival(**{**self.info().options, "hazard": hazard.tolist()})

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cox: minus the log partial likelihood an event. Discrete: minus the log-likelihood a row."""
        return partial_loss(outputs[:, 0], targets, self.ties) if self.cox else self._discrete_loss(outputs, targets)

    def _discrete_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Hazard h_j of the interval that ends at times[j]; a row counts in each that it was watched to the end of."""
        edges = torch.tensor(self.times, dtype=torch.float64, device=targets.device)
        time, event = targets[:, :1].double(), targets[:, 1:] > 0.5
        place = torch.searchsorted(edges, time[:, 0].contiguous())  # times[place - 1] < time <= times[place]
        number = torch.arange(len(self.times), device=targets.device)
        survived = (number < place[:, None]) | (~event & (edges <= time))
        died = (number == place[:, None]) & event
        terms = torch.where(died, -F.logsigmoid(outputs), torch.where(survived, -F.logsigmoid(-outputs), 0.0))
        return terms.sum(dim=1).mean()

    def decode(self, outputs: Tensor) -> np.ndarray:
        """Risk and survival. Cox: the log of the cumulative hazard at the last time, so that fits can be compared.

        Discrete: minus the mean of survival over the times.
        """
        z = outputs.detach().double().cpu()
        if self.cox:
            scores = z[:, :1].clamp(-LARGEST_SCORE, LARGEST_SCORE)
            hazard = torch.tensor(self.hazard or [1.0] * len(self.times), dtype=torch.float64)
            risk = scores + torch.log(hazard[-1].clamp(min=SMALLEST))
            return np.asarray(torch.cat([risk, torch.exp(-hazard * torch.exp(scores))], dim=1).numpy())
        survival = torch.exp(torch.cumsum(F.logsigmoid(-z), dim=1))
        return np.asarray(torch.cat([-survival.mean(dim=1, keepdim=True), survival], dim=1).numpy())

    def outputs_text(self) -> str:
        if self.cox:
            return (
                f"log risk z (rows, 1), cut off at -{LARGEST_SCORE:g} and {LARGEST_SCORE:g}: the share expected to "
                "survive beyond options.times[j] is exp(-options.hazard[j] * exp(z)), and the prediction is "
                "z + log(options.hazard[-1]), higher for an earlier event"
            )
        return (
            "logits (rows, times) of the hazard up to each of options.times: the share expected to survive beyond "
            "options.times[j] is the product of 1 - sigmoid(outputs) up to j, and the prediction is minus the mean of "
            "these shares, higher for an earlier event"
        )

    def decision(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """The risk: Cox's log risk, or minus the mean of survival over the times."""
        if self.cox:
            return outputs[:, 0]
        return -torch.exp(torch.cumsum(F.logsigmoid(-outputs), dim=1)).mean(dim=1)

    def trivial(self, targets: Tensor) -> np.ndarray:
        y = targets.double().numpy()
        curve = kaplan_meier(y[:, 0], y[:, 1] > 0.5, np.array(self.times))
        return np.concatenate([[0.0], curve])

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Ridge-penalised Cox by Newton's method, or the discrete hazards by L-BFGS; the penalty cross-validated.

        For Cox held-out loss is that of all rows minus that of the training rows (Verweij & van Houwelingen 1993).
        """
        if not self.cox:
            return solve_head(self._discrete_loss, z, y, len(self.times), options, self.strata(y))
        standard, decays = Standard.of(z, bool(options.get("standardise", True))), sorted(decays_of(options))[::-1]
        x, y = standard.x, y.detach().cpu().double()
        losses = _held_out(x, y, decays, folds_of(options, self.strata(y)), self.ties) if len(decays) > 1 else [np.nan]
        best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0
        w = newton(x, y, decays[best], ties=self.ties)
        return standard.head(w[None], w.new_zeros(1), float(losses[best]), {"weight_decay": decays[best]})

    def takes_head(self, source: TaskInfo) -> bool:
        """A log risk serves any times; discrete hazards only their own."""
        mine = self.info().options
        same = ("method",) if self.cox else ("method", "times")
        return source.kind == self.name and all(source.options.get(k) == mine[k] for k in same)

    def strata(self, targets: Tensor) -> Tensor:
        """With and without the event, where there are two of each at least."""
        event = (targets[:, 1] > 0.5).long()
        return event if 2 <= int(event.sum()) <= len(event) - 2 else torch.zeros_like(event)

    def regressands(self, targets: Tensor) -> Tensor:
        """Martingale residuals of the model without features (Therneau et al. 1990): events minus those expected."""
        hazard = cumulative_hazard(torch.zeros(len(targets)), targets, targets[:, 0].double())
        return targets[:, 1].double() - hazard

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Times above 0, events 0 or 1."""
        time, event = targets[:, 0], targets[:, 1]
        wrong = torch.nonzero(~((time > 0) & torch.isfinite(time) & ((event == 0) | (event == 1)))).flatten().tolist()
        if wrong:
            raise DataError(
                "TL-DATA-TARGET",
                f"{len(wrong)} of {len(targets)} rows have no time above 0 with an event of 0 or 1",
                findings=[Finding("bad time or event", f"row {i} ({ids[i]})") for i in wrong],
                fix="leave these rows out, or mend the columns of time and event",
            )

    def check_labelled(self, targets: Tensor) -> None:
        """Two events at least."""
        count = int((targets[:, 1] > 0.5).sum())
        if count < 2:
            raise DataError(
                "TL-DATA-EVENTS",
                f"{count} of {len(targets)} labelled rows have the event; survival needs at least 2",
                fix="raise --labels, or check that the event column holds 1 where the event came",
            )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Events, and the median time that rows were watched for."""
        return {"events": int((targets[:, 1] > 0.5).sum()), "median_time": float(targets[:, 0].double().median())}

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction`` (the risk), ``median`` (time until half survive; None beyond the last), ``survival``."""
        rows = []
        for row in decoded.tolist():
            below = [t for t, s in zip(self.times, row[1:], strict=True) if s <= 0.5]
            survival = {f"{t:g}": s for t, s in zip(self.times, row[1:], strict=True)}
            rows.append({"prediction": row[0], "median": below[0] if below else None, "survival": survival})
        return rows

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """Kaplan-Meier curves of thirds of the test rows by predicted risk, what was predicted of each, decision curve.

        Nothing where all rows have one risk.
        """
        y, at = evidence.targets, np.array(self.times)
        thirds = np.array_split(np.argsort(evidence.predictions[:, 0], kind="stable"), 3)
        if min(len(part) for part in thirds) < max(evidence.least, 2) or np.ptp(evidence.predictions[:, 0]) == 0:
            return {}
        middle = len(at) // 2 if self.horizon is None else self.times.index(self.horizon)
        series, rows = [], []
        for name, part in zip(RISK_GROUPS, thirds, strict=True):
            seen = kaplan_meier(y[part, 0], y[part, 1] > 0.5, at)
            said = evidence.predictions[part, 1:].mean(axis=0)
            series.append({"name": name, "points": [[0.0, 1.0], *zip(at.tolist(), seen.tolist(), strict=True)]})
            rows.append([name, len(part), float(said[middle]), float(seen[middle])])
        return {
            "charts": [
                {
                    "kind": "lines",
                    "title": "Survival by predicted risk",
                    "x": f"time ({self.unit})",
                    "y": "share without the event",
                    "series": series,
                    "steps": True,
                    "caption": "Kaplan-Meier curves of thirds of the test rows, by predicted risk.",
                },
                *self._decided(evidence),
            ],
            "tables": [
                {
                    "title": f"Survival beyond {at[middle]:g} {self.unit}",
                    "columns": ["third of the test rows", "rows", "predicted", "observed"],
                    "rows": rows,
                    "caption": "Observed: Kaplan-Meier. Predicted: mean of the model's.",
                }
            ],
        }

    def _decided(self, evidence: Evidence) -> list[dict[str, Any]]:
        if self.horizon is None:
            return []
        y, place = evidence.targets, self.times.index(self.horizon)
        rate = by_time(y[:, 0], y[:, 1] > 0.5, self.horizon)
        title = f"Decision curve: the event within {self.horizon:g} {self.unit}"
        return [decision_curve(1 - evidence.predictions[:, 1 + place], rate, title, evidence.least)]


def _held_out(x: Tensor, y: Tensor, decays: Sequence[float], fold: Tensor, ties: str) -> list[float]:
    """Cross-validated loss an event of each decay, from the largest down."""
    total = [0.0] * len(decays)
    everyone, events = y[:, 1].sum(), y[:, 1]
    for number in range(int(fold.max()) + 1):
        kept = fold != number
        w: Tensor | None = None
        for i, decay in enumerate(decays):
            w = newton(x[kept], y[kept], decay, w, ties)
            whole, inside = (float(partial_loss(x[m] @ w, y[m], ties)) for m in (slice(None), kept))
            total[i] += float(whole * everyone - inside * events[kept].sum())
    return [t / max(1.0, float(everyone)) for t in total]


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Survival]
