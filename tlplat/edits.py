"""Edits change a model's structure; behaviours act on its training steps. Both are named in plans and saved as JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.athand import AtHand
from tlplat.data.examples import Batch
from tlplat.model import TransferModel
from tlplat.plan import Ref
from tlplat.registry import Registry


class Edit(ABC):
    """A change of structure that a reload can repeat.

    ``resolve`` runs once, before the edit; ``build`` is all that a reload runs; ``init`` sets weights the first
    time only. All three are static: an edit holds no state beyond its JSON arguments.
    """

    name: ClassVar[str]
    head_only: ClassVar[bool] = False
    """True where the features stay as they are, so that those of the frozen source, once extracted, serve."""

    @staticmethod
    def resolve(model: TransferModel, args: Mapping[str, Any]) -> dict[str, Any]:
        """``args`` of the plan made complete (module names, index lists): JSON values only."""
        return dict(args)

    @staticmethod
    @abstractmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        """Change the structure in place; needs no data and no randomness that matters."""

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """Set the new weights; default: leave what ``build`` made."""

    @staticmethod
    def fit(model: TransferModel, args: Mapping[str, Any], rows: AtHand) -> None:
        """Set what is learnt from rows and not by steps (statistics, prototypes); after all edits' ``init``, once.

        The model is on its device; default: nothing.
        """


class Behaviour(ABC):
    """Something that acts on training steps; made anew for each phase with the plan's arguments."""

    name: ClassVar[str]

    def __init__(self, **args: Any) -> None:
        """Arguments of the plan's Ref; a subclass names its own."""

    def lend(self, rows: AtHand) -> None:
        """The fit's rows, unlabelled and source ones among them; called once, before ``setup``."""

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        """Called before the phase's first step, and again before a resumed one's state is loaded."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """Weights of its own, trained with the model's at the phase's rate and saved in no model; after ``setup``.

        ``state_dict`` must hold them, and ``load_state_dict`` must copy into the same parameters.
        """
        return ()

    def begin_step(self, model: TransferModel, step: int, progress: float) -> None:
        """Before each step: its number over the whole fit, and ``progress`` in [0, 1) over the phase."""

    def on_batch(self, batch: Batch, targets: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The batch to train on instead (mixup)."""
        return batch, targets

    def loss(self, model: TransferModel, batch: Batch, outputs: Tensor) -> Tensor | None:
        """A scalar added to the task's loss, or None."""
        return None

    def step_loss(self, model: TransferModel) -> Tensor | None:
        """A scalar over rows of the behaviour's own, added once a step however the batch is split for memory."""
        return None

    def on_step(self, model: TransferModel, progress: float) -> None:
        """After each optimiser step; ``progress`` in (0, 1] over the phase."""

    @property
    def settled(self) -> bool:
        """False while the weights are on their way, so that validation must not keep them as the best."""
        return True

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must hold so that resuming is exact."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""

    def close(self, model: TransferModel) -> None:
        """After the phase, also one that failed: take off what :meth:`setup` hung on the model."""


def apply_edits(model: TransferModel, edits: Sequence[Ref], registry: Registry, generator: torch.Generator) -> None:
    """Resolve, build and initialise each edit in order, and record it in ``model.edits``."""
    for ref in edits:
        edit: type[Edit] = registry.get("edits", ref.name)
        args = edit.resolve(model, ref.args)
        edit.build(model, args)
        edit.init(model, args, generator)
        model.edits.append(Ref(ref.name, args))


def fit_edits(model: TransferModel, edits: Sequence[Ref], registry: Registry, rows: AtHand) -> None:
    """Let each of the edits, applied before, learn what it learns from rows."""
    for ref in edits:
        registry.get("edits", ref.name).fit(model, ref.args, rows)


def rebuild_edits(model: TransferModel, edits: Sequence[Ref], registry: Registry) -> None:
    """Repeat the structure of resolved edits; weights are loaded afterwards."""
    for ref in edits:
        registry.get("edits", ref.name).build(model, ref.args)
        model.edits.append(Ref(ref.name, dict(ref.args)))


def run_as_written(module: nn.Module) -> None:
    """Keep every ``nn.TransformerEncoderLayer`` below ``module`` off torch's fused inference path.

    That path reads ``linear1.weight`` and its like and never calls the layers, so a layer that an edit has put into
    their place would count in training and be passed over in prediction. A layer with a hook is not fused.
    """
    for layer in module.modules():
        if isinstance(layer, nn.TransformerEncoderLayer) and _called not in layer._forward_pre_hooks.values():
            layer.register_forward_pre_hook(_called)


def _called(layer: nn.Module, inputs: Any) -> None:
    """The hook: its presence is what counts."""
