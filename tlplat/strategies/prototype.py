"""Prototypes: heads that are solved at once on frozen features, the kind chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.athand import AtHand
from tlplat.edits import Edit
from tlplat.features import apply_in_batches, finite
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device
from tlplat.plan import Budget, Ref, TransferPlan
from tlplat.strategies.choice import SETTINGS, best_temperature, held_out
from tlplat.strategies.prototypes import class_matrix, make_head, solve_head
from tlplat.strategy import Family, MeasureContext, Strategy

FOLDS = 5
KEEPS_ROWS = "knn keeps the training rows' features in model/, which this domain refuses"


class PrototypeHead(Edit):
    """Put a solved head into the place of the linear one; see :mod:`tlplat.strategies.prototypes`."""

    name: ClassVar[str] = "prototype_head"
    head_only: ClassVar[bool] = True

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        model.head = make_head(model.backbone.feature_dim, dict(args))

    @staticmethod
    def fit(model: TransferModel, args: Mapping[str, Any], rows: AtHand) -> None:
        z = finite(apply_in_batches(model.backbone, model.backbone, rows.labelled.inputs))
        y = class_matrix(rows.labelled.targets, args["classes"])
        solve_head(model.head, z, y, args["variant"], args["setting"], args["temperature"])
        model.head.to(model_device(model.backbone))


@dataclass(frozen=True)
class Prototype(Strategy):
    """Solve a head on frozen features in closed form: class means, discriminant, ridge, or nearest neighbours.

    Touches: the head alone, which holds buffers instead of weights; nothing is trained by steps. Which kind, its
    setting and the outputs' temperature are those of least cross-validated loss on the training rows.
    Wins: when labels are a handful a class. Costs: one pass over the rows, cached; ``knn`` keeps the training rows'
    features in the model, so that a domain with private rows leaves it out.
    """

    name: ClassVar[str] = "prototype"
    family: ClassVar[Family] = "feature"
    paper: ClassVar[str] = "Snell et al. 2017, Prototypical networks; Wu et al. 2018 (neighbours)"
    requires: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    uses: ClassVar[frozenset[str]] = frozenset({"keep_rows"})

    variants: tuple[str, ...] = ("mean", "lda", "ridge", "knn")

    def allowed(self, task: TaskInfo) -> list[str]:
        """The variants that fit: one class a row for mean and lda, rows that may be kept for knn."""
        multi, keeps = bool(task.options.get("multi_label")), "keep_rows" in task.offers
        return [v for v in self.variants if (v in ("ridge", "knn") or not multi) and (v != "knn" or keeps)]

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """The kind of least held-out loss, with its setting and temperature; every one's loss; what is left out."""
        z, targets, info = context.features(), context.targets, context.task
        common = {"classes": info.outputs, "multi_label": bool(info.options.get("multi_label")), "temperature": 1.0}
        fold, tried = context.folds(FOLDS), list[dict[str, Any]]()
        for variant in self.allowed(info):
            for setting in SETTINGS[variant]:
                args = {**common, "variant": variant, "setting": setting}
                temperature, loss = best_temperature(context.problem, held_out(z, targets, args, fold), targets)
                tried.append({"variant": variant, "setting": setting, "temperature": temperature, "loss": loss})
        best = min(tried, key=lambda found: float(found["loss"]))
        refused = "knn" in self.variants and "keep_rows" not in info.offers
        return {"head": {**common, **{k: best[k] for k in ("variant", "setting", "temperature")}}, "tried": tried} | (
            {"left_out": KEEPS_ROWS} if refused else {}
        )

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        return TransferPlan(start="fresh", edits=(Ref("prototype_head", {**measured["head"], "rows": budget.rows}),))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        reason = super().unfit(task, backbone)
        if reason is None and not self.allowed(task):
            kept = "knn" in self.variants and "keep_rows" not in task.offers
            return KEEPS_ROWS if kept else f"{', '.join(self.variants)} need one class a row"
        return reason


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Prototype]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [PrototypeHead]
