"""The strategy contract: how knowledge moves, declared as a plan that the core carries out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from torch import Tensor

from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, TransferPlan, json_hash
from tlplat.tasks.base import Task

Family = Literal["parameter", "feature", "structural", "baseline"]


class MeasureContext(Protocol):
    """What :meth:`Strategy.measure` may look at: training rows only."""

    @property
    def backbone(self) -> BackboneInfo: ...
    @property
    def task(self) -> TaskInfo: ...
    @property
    def targets(self) -> Tensor:
        """(n,) targets of the training rows."""

    @property
    def problem(self) -> Task:
        """The task itself: its loss, its ``fit_head``, its strata."""

    def features(self) -> Tensor:
        """(n, feature_dim) features of the training rows by the source's frozen backbone."""

    def depth_features(self) -> Sequence[Tensor]:
        """The source's pooled features of the training rows after every block: (n, block_dims[i]) each."""

    def probe_score(self, features: Tensor) -> float:
        """Cross-validated mean loss a row of the task's ``fit_head`` on ``features`` (n, d): lower is better."""

    def folds(self, count: int) -> Tensor:
        """(n,) fold numbers for a cross-validation of the strategy's own: strata dealt out, groups and times whole."""

    def gradient_norms(self) -> Mapping[str, tuple[float, float]]:
        """For each of the backbone's parameters: norm of the mean loss's gradient, and norm of the weights.

        Taken in eval mode at the source's weights, with the source's head where labels match, else with a fitted one.
        """

    def channel_effects(self) -> Mapping[str, Sequence[float]]:
        """For each block, by how much the mean loss rises, to first order, when a channel of its output is zero.

        The model is that of :meth:`gradient_norms`. The rise is minus the channel's sum of activation times gradient
        (Molchanov et al. 2017): one backward pass where ablation takes a forward pass a channel.
        """


@dataclass(frozen=True)
class Strategy(ABC):
    """A way of transferring. A subclass is a frozen dataclass whose fields are its hyper-parameters, and nothing else.

    Class attributes:
        name: what users type. family: parameter, feature, structural (or baseline). paper: the citation.
        requires: capabilities that the task must offer, or the run's data: ``unlabeled`` (rows of the target without
            labels), ``source_rows`` (labelled rows of the source), ``keep_rows`` (a model may hold training rows).
        uses: what of these it uses where it is there, and does without where it is not.
        transfers: False only for baselines that use nothing of the source.
        extra: the pip extra that the strategy needs, or None.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    paper: ClassVar[str]
    requires: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[str]] = frozenset()
    transfers: ClassVar[bool] = True

    @abstractmethod
    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        """The declaration: a pure function of its arguments and the hyper-parameters."""

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """What must be learnt from the training rows first; JSON values, saved as measured.json."""
        return {}

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        """Why the strategy cannot serve this task and backbone, in a sentence; None where it can."""
        missing = self.requires - task.offers
        if "unlabeled" in missing:
            return f"{self.name} needs unlabelled rows of the target: add --unlabeled FILE"
        if missing:
            return f"{self.name} needs a task that offers {', '.join(sorted(missing))}; {task.kind} does not"
        return None

    def misfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        """What the core asks: :meth:`unfit`, and before it whether a backbone that is frozen bears the strategy."""
        if backbone.frozen and not self.transfers:
            return f"{self.name} trains the source's structure anew, which is {backbone.frozen}"
        if backbone.frozen and self.family in ("parameter", "structural"):
            moves = "moves the source's weights" if self.family == "parameter" else "changes the source's structure"
            verb = "are" if self.family == "parameter" else "is"
            return f"{self.name} {moves}, which {verb} {backbone.frozen}: such a source gives features alone"
        return self.unfit(task, backbone)

    def grid(self) -> Sequence[Self]:
        """Hyper-parameter settings that selection tries, at equal budget each; the default tries ``self`` alone."""
        return [self]

    def hyperparameters(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def key(self) -> str:
        """``name-hash8`` over the hyper-parameters: the trial's folder name."""
        return f"{self.name}-{json_hash(self.hyperparameters())}"

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]
