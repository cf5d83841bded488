"""TransferModel = backbone + head, and what is said about it. Saving and loading are in :mod:`tlplat.modelio`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.plan import Ref
from tlplat.pretext import Pretext
from tlplat.probing import known_units
from tlplat.registry import Registry

if TYPE_CHECKING:
    from tlplat.ops import FrozenBlock
    from tlplat.ops.block import Precision


@dataclass(frozen=True)
class Tail:
    """How a frozen backbone ends, for an extraction that fuses its last block and its pooling.

    Attributes:
        body: a batch as the block's input: x (rows, k) or (rows, tokens, k), and a mask (rows, tokens) or None.
        block: what turns x into the features, :class:`tlplat.ops.FrozenBlock`.
    """

    body: Callable[[Batch], tuple[Tensor, Tensor | None]]
    block: FrozenBlock


class Backbone(nn.Module, ABC):
    """The transferred part: ``forward(x) = pool(block_k(... block_1(embed(x))))``.

    A subclass is a registered factory: ``name`` is what structure.json stores, ``config()`` the arguments that
    build the same structure again. It sets ``self.blocks``, an ``nn.ModuleDict`` in order from input to output.
    """

    name: ClassVar[str]
    code_version: ClassVar[int] = 1
    """Raise it when the forward changes: it is part of the feature cache's key."""

    channel_dim: ClassVar[int] = -1
    """The dimension of a block's output that holds channels: 1 where maps are (rows, channels, height, width)."""

    frozen: ClassVar[str] = ""
    """Why weights and structure cannot change, such as ``fixed inside an ONNX graph``, or empty."""

    blocks: nn.ModuleDict

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments, JSON values only."""

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """The representation that the first block receives, first dimension = rows."""

    @abstractmethod
    def pool(self, hidden: Tensor) -> Tensor:
        """Any block's output as features (rows, d)."""

    @property
    @abstractmethod
    def block_dims(self) -> tuple[int, ...]:
        """Feature dimension after pooling each block's output, in order; blocks removed by an edit may still count."""

    @property
    def feature_dim(self) -> int:
        return self.block_dims[len(self.blocks) - 1]

    def forward(self, batch: Batch) -> Tensor:
        """Features (rows, feature_dim)."""
        hidden = self.embed(batch)
        for block in self.blocks.values():
            hidden = block(hidden)
        return self.pool(hidden)

    def pretext(self) -> Pretext | None:
        """A self-supervised task with fresh layers of its own, for continued pretraining; None: it offers none."""
        return None

    def tail(self) -> Tail | None:
        """The same forward in eval mode with its last block and pooling fused, where the backbone ends in such a block.

        Features agree with those of :meth:`forward` to rounding. None, the default, is always right: then the modules
        run. The block's tensors are detached.
        """
        return None

    def extractor(self, precision: Precision) -> Callable[[Batch], Tensor] | None:
        """The whole forward in eval mode arranged for extraction: norms folded, layers fused, nothing padded.

        Called where no gradient is wanted. Features agree with those of :meth:`forward` to rounding where precision is
        ``full``, to three digits where it is ``bf16``. None, the default, is always right: then :meth:`tail` is asked.
        """
        return None

    def before_last(self, batch: Batch) -> Tensor:
        """The representation that the last block receives."""
        hidden = self.embed(batch)
        for block in list(self.blocks.values())[:-1]:
            hidden = block(hidden)
        return hidden

    def depth_features(self, batch: Batch) -> list[Tensor]:
        """Pooled features after every block: len(blocks) tensors (rows, block_dims[i])."""
        hidden, out = self.embed(batch), []
        for block in self.blocks.values():
            hidden = block(hidden)
            out.append(self.pool(hidden))
        return out


class TransferModel(nn.Module):
    """Backbone and head, with the recipe that builds the same structure again.

    Attributes:
        base: the backbone's factory and arguments.
        edits: edits applied so far, with resolved arguments, in order.
        example: a few training rows, for edits whose ``resolve`` must run the model; never saved.
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.base = Ref(backbone.name, backbone.config())
        self.edits: list[Ref] = []
        self.example: Batch | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Head outputs (rows, outputs): logits for classification."""
        outputs: Tensor = self.head(self.backbone(batch))
        return outputs


@dataclass(frozen=True)
class ModuleInfo:
    """One layer as strategies see it in planning.

    Attributes:
        kind: the class's name. grouped: a convolution in groups. parameters: of the layer.
        width: output features or channels of a linear or convolution layer, 0 for others. dilated: a convolution with
            holes.
    """

    kind: str
    grouped: bool = False
    parameters: int = 0
    width: int = 0
    dilated: bool = False


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone without its weights: what a plan may depend on."""

    name: str
    blocks: tuple[str, ...]
    block_dims: tuple[int, ...]
    modules: Mapping[str, ModuleInfo]
    parameters: int
    has_source_head: bool = False
    """The source's own head predicts exactly the target's labels."""
    parameter_names: tuple[str, ...] = ()
    """Of all parameters, such as ``backbone.blocks.conv2.bias``."""
    units: tuple[str, ...] = ()
    """Layers (names below the backbone) whose outputs can be copied and removed; empty where no example was given."""
    self_supervised: bool = False
    """The backbone offers a self-supervised task (:meth:`Backbone.pretext`)."""
    frozen: str = ""
    """Why it gives features alone (:attr:`Backbone.frozen`); empty where its weights can move."""

    @property
    def feature_dim(self) -> int:
        return self.block_dims[-1]

    @classmethod
    def of(cls, backbone: Backbone, has_source_head: bool = False, example: Batch | None = None) -> BackboneInfo:
        """What is to be known of ``backbone``, which must stay as it is; ``example``, a few rows, is run through it."""
        units = known_units(backbone, example) if example is not None else ()
        modules = {
            f"backbone.{name}": ModuleInfo(
                kind=type(m).__name__,
                grouped=getattr(m, "groups", 1) != 1,
                parameters=sum(p.numel() for p in m.parameters()),
                width=getattr(m, "out_features", getattr(m, "out_channels", 0)),
                dilated=getattr(m, "dilation", 1) not in (1, (1,), (1, 1), (1, 1, 1)),
            )
            for name, m in backbone.named_modules()
            if name and not list(m.children())
        }
        return cls(
            name=backbone.name,
            blocks=tuple(backbone.blocks),
            block_dims=tuple(backbone.block_dims),
            modules=modules,
            parameters=sum(p.numel() for p in backbone.parameters()),
            has_source_head=has_source_head,
            parameter_names=tuple(f"backbone.{name}" for name, _ in backbone.named_parameters()),
            units=tuple(name for u in units for name in sorted(u.layers)),
            self_supervised=type(backbone).pretext is not Backbone.pretext,
            frozen=backbone.frozen,
        )


@dataclass(frozen=True)
class TaskInfo:
    """What is predicted, as values: enough for a plan, for structure.json and for labels.json.

    Attributes:
        kind: the registered task's name, such as ``classification``.
        outputs: width of the head.
        labels: class names in index order; empty where the task has none.
        options: the task's constructor arguments, JSON values only.
        offers: capabilities of the task (``fit_head``, ``loss``, ``row_loss``), and in planning of the run's data
            (``unlabeled``, ``source_rows``, ``keep_rows``), matched against a strategy's ``requires``.
    """

    kind: str
    outputs: int
    labels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    offers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SourceModel:
    """A pretrained backbone with its own head where it has one, and where it came from.

    Attributes:
        name: what users type.
        base: factory and arguments of the backbone.
        state: tensors of the backbone, without prefix.
        head: ``weight`` (outputs, feature_dim) and ``bias`` (outputs,) of its own linear head, or None.
        task: what that head predicts, or None.
        preprocess: how raw rows become inputs (JSON); the target's rows are encoded the same way.
        provenance: data, licence, citation, weights_sha256, how it was trained and how well.
        stand_in: random weights in the place of a source that a run would pretrain first (``--dry-run``).
    """

    name: str
    base: Ref
    state: Mapping[str, Tensor]
    head: Mapping[str, Tensor] | None
    task: TaskInfo | None
    preprocess: Mapping[str, Any]
    provenance: Mapping[str, Any]
    stand_in: bool = False

    def build(self, registry: Registry, *, random: bool = False) -> Backbone:
        """The backbone with the source's weights, or with fresh ones (``random``: the caller's RNG decides)."""
        backbone: Backbone = registry.get("backbones", self.base.name)(**self.base.args)
        if not random:
            backbone.load_state_dict(dict(self.state))
        return backbone


def parameter_count(module: nn.Module, *, trainable: bool = False) -> int:
    """Parameters in all, or those that require a gradient."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def model_device(module: nn.Module) -> torch.device:
    """The device of the first parameter or buffer; the CPU for a module with neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
