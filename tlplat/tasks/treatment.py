"""Treatment: the outcome expected under each of several arms, and so which arm to recommend for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import DataError, Finding
from tlplat.hookspecs import hookimpl
from tlplat.metrics import RowMean
from tlplat.model import TaskInfo
from tlplat.tasks.base import Evidence, HeadFit, Metric, Task
from tlplat.tasks.linear import Standard, decays_of, folds_of, ridge, solve_ridge
from tlplat.tasks.policy import (
    Nuisances,
    cross_fitted,
    effect_error,
    fitted,
    outcome_error,
    policy_value,
    recommended,
    robust_scores,
    scores_of,
)

OVERLAP = 0.05
"""A row whose propensity for some arm is below has hardly a counterpart there."""
LEAST_OVERLAP = 0.5
GROUPS = 5
Z95 = 1.959964


class Treatment(Task):
    """Outcomes under each arm. Targets are (n, 2 + 2k): arm, outcome, k propensities, k outcomes expected by others.

    :meth:`targets` makes them. The last two blocks serve scores: no fit on the rows learns from them. Predictions are
    (n, k) outcomes; the recommendation is the arm of the best one.

    Args:
        arms: names, the first is the one that effects are measured against (no treatment).
        outcome, unit: what is measured, in words. maximise: whether more of it is better.
        learner: ``t`` fits each arm's rows (T-learner, on shared features); ``dr`` fits doubly robust scores made of
            cross-fitted nuisances (DR-learner, Kennedy 2023).
        metric: the primary one: ``policy_value`` (default), ``effect_error`` or ``outcome_mae``.
        scale: mean and deviation of the training outcomes; set by ``settled``.
    """

    name: ClassVar[str] = "treatment"
    summary: ClassVar[str] = "outcome under each arm, T- or DR-learner: policy value, effect error, overlap check"
    trivial_name: ClassVar[str] = "one_for_all"
    trivial_summary: ClassVar[str] = "recommends the arm of the best mean outcome for every row"
    decision_words: str = "the last arm's outcome less the first's, in standard deviations"

    def __init__(
        self,
        arms: Sequence[str],
        outcome: str = "outcome",
        unit: str = "",
        maximise: bool = True,
        learner: Literal["t", "dr"] = "dr",
        metric: str = "policy_value",
        scale: Sequence[float] | None = None,
    ) -> None:
        self.arms, self.outcome, self.unit = tuple(str(a) for a in arms), outcome, unit
        self.maximise, self.learner, self.metric = maximise, learner, metric
        self.scale = None if scale is None else (float(scale[0]), float(scale[1]))
        self.prepares = learner == "dr"
        if len(self.arms) < 2 or learner not in ("t", "dr"):
            raise ValueError(f"Treatment takes two arms or more and a learner t or dr, not {self.arms} {learner!r}")

    @classmethod
    def example(cls) -> Treatment:
        return cls(["none", "treated"])

    @classmethod
    def targets(
        cls, x: Tensor, arm: Tensor, outcome: Tensor, arms: int, propensity: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Targets of one part of the data (pool or test, each by itself) from plain covariates.

        Args:
            x: (n, d) covariates known before treatment. arm: (n,) int64. outcome: (n,).
            propensity: (n, arms) known by design, for a randomised trial; else cross-fitted by logistic regression.
        """
        made = cross_fitted(x, arm, outcome, arms, seed)
        known = made.propensity if propensity is None else propensity.double()
        return torch.cat([arm.double()[:, None], outcome.double()[:, None], known, made.outcome], dim=1)

    def info(self) -> TaskInfo:
        options = {
            "arms": list(self.arms),
            "outcome": self.outcome,
            "unit": self.unit,
            "maximise": self.maximise,
            "learner": self.learner,
            "metric": self.metric,
            "scale": None if self.scale is None else list(self.scale),
        }
        offers = frozenset({"loss", "row_loss", "fit_head"})
        return TaskInfo(self.name, len(self.arms), self.arms, options, offers)

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first."""
        count = len(self.arms)
        found: list[Metric] = [
            policy_value(count, self.maximise),
            effect_error(count),
            RowMean("outcome_mae", False, outcome_error),
        ]
        return sorted(found, key=lambda m: m.name != self.metric)

    def metric_unit(self, name: str) -> str:
        return self.unit if name in ("policy_value", "outcome_mae") else ""

    def settled(self, targets: Tensor) -> Treatment:
        """With mean and standard deviation of the training rows' outcomes."""
        y = targets[:, 1].double()
        deviation = float(y.std(correction=0))
        scale = (float(y.mean()), deviation if deviation > 0 else 1.0)
        return Treatment(**{**self.info().options, "scale": scale})

    def prepare(self, train: tuple[Tensor, Tensor], others: Sequence[tuple[Tensor, Tensor]], seed: int) -> list[Tensor]:
        """Targets with the k robust scores of each row, by nuisances of the features that are transferred."""
        z, y = train
        arm, outcome, count = y[:, 0].long(), y[:, 1], len(self.arms)
        made = [(y, cross_fitted(z, arm, outcome, count, seed))]
        model = fitted(z, arm, outcome, count)
        made += [(other, model(x)) for x, other in others]
        return [self._extended(targets, found) for targets, found in made]

    def _extended(self, targets: Tensor, nuisances: Nuisances) -> Tensor:
        scores = robust_scores(targets[:, 0].long(), targets[:, 1], nuisances)
        return torch.cat([targets, scores.to(targets.dtype)], dim=1)

    def _robust(self, targets: Tensor) -> Tensor:
        """The columns of ``prepare``; for rows without them (the source's) scores by the nuisances that came along."""
        count = len(self.arms)
        if targets.shape[1] > 2 + 2 * count:
            return targets[:, 2 + 2 * count :]
        given = Nuisances(targets[:, 2 : 2 + count].double(), targets[:, 2 + count :].double())
        return robust_scores(targets[:, 0].long(), targets[:, 1], given)

    def _standard(self, values: Tensor) -> Tensor:
        mean, deviation = self.scale or (0.0, 1.0)
        return (values.double() - mean) / deviation

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Half the mean squared error, in deviations: of the given arm's output, or of all arms' robust scores."""
        if self.prepares:
            wanted = self._standard(self._robust(targets)).to(outputs.dtype)
            return 0.5 * (outputs - wanted).square().mean()
        given = outputs.gather(1, targets[:, :1].long())[:, 0]
        return 0.5 * (given - self._standard(targets[:, 1]).to(outputs.dtype)).square().mean()

    def decode(self, outputs: Tensor) -> np.ndarray:
        """(n, k) expected outcomes."""
        mean, deviation = self.scale or (0.0, 1.0)
        return np.asarray(outputs.detach().double().cpu().numpy() * deviation + mean)

    def outputs_text(self) -> str:
        best = "largest" if self.maximise else "smallest"
        return (
            "(rows, arms): outputs * options.scale[1] + options.scale[0] is the outcome expected under each of "
            f"options.arms, in order; the arm of the {best} is recommended"
        )

    def decision(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """The last arm's outcome minus the first's, in standard deviations."""
        return outputs[:, -1] - outputs[:, 0]

    def trivial(self, targets: Tensor) -> np.ndarray:
        """Mean outcome of each arm's rows; of all rows where an arm has none."""
        arm, y = targets[:, 0].long(), targets[:, 1].double()
        return np.array([float((y[arm == a] if bool((arm == a).any()) else y).mean()) for a in range(len(self.arms))])

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Ridge regression: of each arm's rows (t), or of all rows' robust scores (dr); the penalty cross-validated."""
        if self.prepares:
            return solve_ridge(z, self._standard(self._robust(y)), options, self.strata(y))
        standard, decays, arm = (
            Standard.of(z, bool(options.get("standardise", True))),
            decays_of(options),
            y[:, 0].long(),
        )
        x, outcome = standard.x, self._standard(y[:, 1].cpu())
        fold, losses = folds_of(options, arm), [float("nan")] * len(decays)
        for i, decay in enumerate(decays if len(decays) > 1 else []):
            losses[i] = 0.0
            for number in range(int(fold.max()) + 1):
                out = fold == number
                weight, bias = self._arm_ridge(x[~out], arm[~out], outcome[~out], decay)
                said = (x[out] @ weight.T + bias).gather(1, arm[out][:, None])[:, 0]
                losses[i] += float((said - outcome[out]).square().sum()) / 2 / len(x)
        best = losses.index(min(losses)) if len(decays) > 1 else 0
        weight, bias = self._arm_ridge(x, arm, outcome, decays[best])
        return standard.head(weight, bias, losses[best], {"weight_decay": decays[best]})

    def _arm_ridge(self, x: Tensor, arm: Tensor, outcome: Tensor, decay: float) -> tuple[Tensor, Tensor]:
        """A ridge regression for each arm; the mean where an arm has fewer than two rows."""
        heads = []
        for a in range(len(self.arms)):
            mine = arm == a
            if int(mine.sum()) < 2:
                heads.append((x.new_zeros(1, x.shape[1]), outcome.mean()[None]))
            else:
                heads.append(ridge(x[mine], outcome[mine][:, None], decay))
        return torch.cat([w for w, _ in heads]), torch.cat([b for _, b in heads])

    def takes_head(self, source: TaskInfo) -> bool:
        """A head of the same arms and outcome."""
        mine = self.info().options
        return source.kind == self.name and all(source.options.get(k) == mine[k] for k in ("arms", "outcome", "unit"))

    def adopt_head(self, weight: Tensor, bias: Tensor, source: TaskInfo) -> tuple[Tensor, Tensor]:
        """The source's outputs, which are in its own standard deviations, in this task's."""
        (theirs, wide), (ours, narrow) = source.options.get("scale") or (0.0, 1.0), self.scale or (0.0, 1.0)
        return weight * (wide / narrow), (bias * wide + theirs - ours) / narrow

    def strata(self, targets: Tensor) -> Tensor:
        """The arm that was given."""
        return targets[:, 0].long()

    def regressands(self, targets: Tensor) -> Tensor:
        return targets[:, 1].double()

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Arms in range, finite outcomes, propensities, and rows enough that could have got either arm."""
        count = len(self.arms)
        if targets.ndim != 2 or targets.shape[1] < 2 + 2 * count:
            raise ValueError(f"Treatment takes (n, {2 + 2 * count}) targets, not {tuple(targets.shape)}")
        arm, propensity = targets[:, 0], targets[:, 2 : 2 + count]
        good = torch.isfinite(targets).all(dim=1) & (arm >= 0) & (arm < count) & (arm == arm.round())
        wrong = torch.nonzero(~good).flatten().tolist()
        if wrong:
            raise DataError(
                "TL-DATA-TARGET",
                f"{len(wrong)} of {len(targets)} rows have no arm out of {count} with a finite {self.outcome}",
                findings=[Finding("bad arm or outcome", f"row {i} ({ids[i]})") for i in wrong],
                fix="leave these rows out, or mend the columns of treatment and outcome",
            )
        shared = float((propensity.min(dim=1).values >= OVERLAP).double().mean())
        if shared < LEAST_OVERLAP:
            raise DataError(
                "TL-DATA-OVERLAP",
                f"only {100 * shared:.0f} % of the rows could have got every arm (propensity of {OVERLAP} or more)",
                expected=f"{100 * LEAST_OVERLAP:.0f} % or more",
                fix="restrict the rows to those for whom every treatment is an option, or leave out a rare arm",
            )

    def check_labelled(self, targets: Tensor) -> None:
        """Two rows of each arm at least."""
        for name, n in zip(
            self.arms, torch.bincount(targets[:, 0].long(), minlength=len(self.arms)).tolist(), strict=True
        ):
            if n < 2:
                raise DataError(
                    "TL-DATA-ARM-SMALL",
                    f"arm {name!r} has {n} of {len(targets)} labelled rows; a split needs at least 2",
                    fix="raise --labels, or leave out the arm",
                )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Rows of each arm, and the share of rows that could have got every one."""
        count = torch.bincount(targets[:, 0].long(), minlength=len(self.arms)).tolist()
        propensity = targets[:, 2 : 2 + len(self.arms)].min(dim=1).values
        shared = float((propensity >= OVERLAP).double().mean())
        return {"arms": dict(zip(self.arms, count, strict=True)), "overlap": {"propensity": OVERLAP, "share": shared}}

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction`` (the arm recommended), ``outcome`` under each arm, ``effect`` of each against the first."""
        chosen = recommended(decoded, self.maximise)
        return [
            {
                "prediction": self.arms[int(best)],
                "outcome": dict(zip(self.arms, row.tolist(), strict=True)),
                "effect": dict(zip(self.arms[1:], (row[1:] - row[0]).tolist(), strict=True)),
            }
            for best, row in zip(chosen, decoded, strict=True)
        ]

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """Value of the model's policy and of each arm for all, who is recommended what, effects against scores."""
        scores, count = scores_of(evidence.targets, len(self.arms)), len(evidence.targets)
        chosen = recommended(evidence.predictions, self.maximise)
        values = {"as the model recommends": scores[np.arange(count), chosen]}
        values |= {f"{arm} for all": scores[:, a] for a, arm in enumerate(self.arms)}
        half = {name: Z95 * float(v.std(ddof=1)) / count**0.5 for name, v in values.items()}
        bars = {
            "kind": "bars",
            "title": "Value of a policy",
            "y": f"mean {self.unit or 'outcome'}, {'more' if self.maximise else 'less'} is better",
            "bars": list(values),
            "series": [
                {
                    "points": [[i, float(v.mean())] for i, v in enumerate(values.values())],
                    "intervals": [[float(v.mean()) - half[n], float(v.mean()) + half[n]] for n, v in values.items()],
                }
            ],
            "caption": f"{self.outcome[:1].upper()}{self.outcome[1:]}: doubly robust means over the test rows, "
            "with 95 % intervals.",
        }
        sizes = [int((chosen == a).sum()) for a in range(len(self.arms))]
        rows = [
            [arm, n if n >= evidence.least else f"< {evidence.least}"] for arm, n in zip(self.arms, sizes, strict=True)
        ]
        table = {"title": "Recommended", "columns": ["arm", "test rows"], "rows": rows}
        return {"charts": [bars, *self._effects(scores, evidence)], "tables": [table]}

    def _effects(self, scores: np.ndarray, evidence: Evidence) -> list[dict[str, Any]]:
        if len(self.arms) != 2:
            return []
        said = evidence.predictions[:, 1] - evidence.predictions[:, 0]
        parts = np.array_split(np.argsort(said, kind="stable"), GROUPS)
        if min(map(len, parts)) < max(2, evidence.least):
            return []
        seen = scores[:, 1] - scores[:, 0]
        points = [[float(said[p].mean()), float(seen[p].mean())] for p in parts]
        noise = float(np.mean([Z95 * seen[p].std(ddof=1) / len(p) ** 0.5 for p in parts]))
        return [
            {
                "kind": "lines",
                "title": f"Effect of {self.arms[1]} against {self.arms[0]}",
                "x": "predicted effect",
                "y": "doubly robust estimate",
                "series": [{"points": points}],
                "diagonal": True,
                "caption": f"Means of fifths of the test rows, by predicted effect; each is known to about {noise:.2g} "
                f"{self.unit}".rstrip()
                + " on either side.",
            }
        ]


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Treatment]
