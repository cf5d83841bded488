"""A user's own ``torch.nn.Module`` as a backbone: its code stays the user's, so a reload takes a factory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.errors import ModelError
from tlplat.model import Backbone, SourceModel
from tlplat.plan import Ref
from tlplat.registry import Registry
from tlplat.tasks.classification import Classification

Factory = Callable[[], nn.Module]


class ModuleBackbone(Backbone):
    """A module without its head. The children of an ``nn.Sequential`` are its blocks; another module is one block.

    A block's output is (rows, d), or (rows, d, ...), which is averaged over the dimensions after the second.

    Args:
        structure: hash of the module's printed structure, so that another one is refused at a reload.
        dims: features after each block. head: name of the layer that is dropped, or None.
    """

    name: ClassVar[str] = "module"
    channel_dim: ClassVar[int] = 1
    factory: ClassVar[Factory | None] = None

    def __init__(self, structure: str, dims: Sequence[int], head: str | None = None) -> None:
        super().__init__()
        factory = type(self).factory
        if factory is None:
            raise ModelError(
                "TL-MODEL-FACTORY",
                "the model's code is a torch.nn.Module of yours, which no file holds",
                fix="load it from Python: tlplat.load_model(PATH, factory=...) with what builds the module",
            )
        module = factory()
        if structure_of(module) != structure:
            raise ModelError(
                "TL-MODEL-SHAPE",
                "the factory builds another structure than the module that was trained",
                found=" ".join(str(module).split())[:200],
                fix="pass the factory of the module that the run was given",
            )
        self.structure, self.dims, self.dropped = structure, tuple(dims), head
        self.blocks = blocks_of(module, head)

    def config(self) -> dict[str, Any]:
        return {"structure": self.structure, "dims": list(self.dims), "head": self.dropped}

    def embed(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden if hidden.ndim < 3 else hidden.flatten(2).mean(dim=2)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.dims


def structure_of(module: nn.Module) -> str:
    """A hash of the printed structure and of the names and shapes of all tensors."""
    shapes = [(name, tuple(value.shape)) for name, value in module.state_dict().items()]
    return hashlib.sha256(f"{module}{shapes}".encode()).hexdigest()[:16]


def blocks_of(module: nn.Module, head: str | None) -> nn.ModuleDict:
    """The module's parts in order, without the layer ``head``."""
    names = dict(module.named_modules())
    if head is not None and (head not in names or not head):
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the module has no layer named {head!r} to drop",
            found=", ".join(n for n, m in names.items() if n and not list(m.children())),
            fix="name the module's own output layer",
        )
    if isinstance(module, nn.Sequential):
        kept = [
            (f"block{name}" if name.isdigit() else name, part) for name, part in module.named_children() if name != head
        ]
        return nn.ModuleDict(dict(kept))
    if head is not None:
        parent, _, leaf = head.rpartition(".")
        setattr(names[parent], leaf, nn.Identity())
    return nn.ModuleDict({"whole": module})


def refilled(module: nn.Module) -> Factory:
    """A factory of fresh copies of ``module``: every layer draws its weights anew, as ``reset_parameters`` does.

    Raises:
        ModelError TL-MODEL-FACTORY: a parameter that no layer's ``reset_parameters`` draws.
    """
    reset = {id(p) for m in module.modules() if hasattr(m, "reset_parameters") for p in m.parameters(recurse=False)}
    left = [name for name, p in module.named_parameters() if id(p) not in reset]
    if left:
        raise ModelError(
            "TL-MODEL-FACTORY",
            f"fresh weights cannot be drawn for {', '.join(left[:5])}: their module has no reset_parameters()",
            fix="pass factory=..., which builds the module with fresh weights: scratch is always compared",
        )

    def made() -> nn.Module:
        fresh = copy.deepcopy(module)
        for part in fresh.modules():
            if callable(draw := getattr(part, "reset_parameters", None)):
                draw()
        return fresh

    return made


def registered(registry: Registry, factory: Factory) -> Registry:
    """The registry, in which ``module`` means the modules that ``factory`` builds."""
    own = type("ModuleBackbone", (ModuleBackbone,), {"factory": staticmethod(factory)})
    registry.entries["backbones", ModuleBackbone.name] = own
    return registry


def as_source(
    module: nn.Module,
    factory: Factory,
    example: Tensor,
    head: str | None,
    registry: Registry,
    labels: Sequence[str] = (),
) -> SourceModel:
    """The module's weights as a source model.

    Args:
        module: with pretrained weights. factory: builds it with fresh ones. example: a few rows (n, ...).
        head: name of the output layer, which is dropped; None keeps all layers.
        labels: class names of a linear head's outputs, in order; the head can then be reused where they are the
            target's.

    Raises:
        ModelError TL-MODEL-FACTORY: the factory builds the pretrained weights, so that scratch would not be scratch.
        TL-MODEL-SHAPE: an output is not (rows, features, ...), or the module does not take the rows.
    """
    structure = structure_of(module)
    state = blocks_of(copy.deepcopy(module), head).state_dict(prefix="blocks.")
    wide = [value for value in state.values() if value.ndim > 1]
    made = registered(registry, factory).get("backbones", ModuleBackbone.name)(structure, [1] * len(state), head)
    fresh = made.state_dict()
    if wide and all(torch.equal(fresh[k], v) for k, v in state.items() if v.ndim > 1):
        raise ModelError(
            "TL-MODEL-FACTORY",
            "the factory returns the pretrained weights, so that training from scratch would not start from scratch",
            fix="pass a factory that builds the module with fresh weights",
        )
    made.load_state_dict(state)
    args = {"structure": structure, "dims": _dims(made, example), "head": head}
    return SourceModel(
        name="module",
        base=Ref(ModuleBackbone.name, args),
        state=state,
        head=_own_head(module, head, labels) if labels else None,
        task=Classification(list(labels)).info() if labels else None,
        preprocess={"shape": list(example.shape[1:]), "dtype": str(example.dtype).removeprefix("torch.")},
        provenance={"data": "given from Python", "license": "the user's own", "citation": ""},
    )


def _own_head(module: nn.Module, head: str | None, labels: Sequence[str]) -> dict[str, Tensor]:
    layer = module.get_submodule(head) if head else None
    if not isinstance(layer, nn.Linear) or layer.out_features != len(labels):
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the head {head!r} is no linear layer with an output for each of {len(labels)} labels",
            found=str(layer),
            fix="name the module's linear output layer as head, and its classes in order",
        )
    bias = layer.weight.new_zeros(len(labels)) if layer.bias is None else layer.bias
    return {"weight": layer.weight.detach().clone(), "bias": bias.detach().clone()}


def _dims(backbone: ModuleBackbone, example: Tensor) -> list[int]:
    try:
        with torch.no_grad():
            found = backbone.eval().depth_features(example)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the module does not take rows of shape {tuple(example.shape[1:])} {example.dtype}",
            found=str(error).splitlines()[0][:200],
            fix="give rows of the shape and type that the module was trained on",
        ) from error
    wrong = [tuple(z.shape) for z in found if z.ndim != 2 or len(z) != len(example)]
    if wrong:
        raise ModelError(
            "TL-MODEL-SHAPE",
            "a block's output is not (rows, features) or (rows, features, ...)",
            found=str(wrong[0]),
            fix="wrap the module so that it returns (rows, features)",
        )
    return [z.shape[1] for z in found]
