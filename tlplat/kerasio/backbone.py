"""A network of Keras's layers as a backbone of torch modules: rebuilt from its list of layers alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.errors import ModelError
from tlplat.kerasio.graph import INPUT, Layer
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.options import WrongOptionError
from tlplat.kerasio.recurrent import draw
from tlplat.model import Backbone

ANY_SIZE = 256
"""Stands for a dimension that may be of any size, where shapes are worked out."""
MOST_VALUES = 1 << 28
"""Numbers that one layer may make of one row: 1 GiB."""

KERNELS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class Block(nn.Module):
    """Layers between two places where one tensor alone goes on."""

    def __init__(self, layers: Sequence[Layer], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {plain_name(layer.name): module for layer, module in zip(layers, modules, strict=True)}
        )
        self.reads = [layer.inputs for layer in layers]
        self.names = [layer.name for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        known: dict[str, Tensor] = {}
        for name, reads, part in zip(self.names, self.reads, self.parts.values(), strict=True):
            # what the block does not make is what comes in: no other tensor lives where it begins
            known[name] = part(*(known.get(read, x) for read in reads))
        return known[self.names[-1]]


class KerasBackbone(Backbone):
    """Layers mapped one to one onto torch.nn, all but the model's own output layer.

    Rows are (n, ..., channels) as in Keras; hidden values (n, channels, ...). A block begins at a layer with weights,
    wherever one tensor alone goes on; its name is that layer's. Fresh weights are drawn as Keras draws them by default.

    Args:
        layers: (name, class, options, inputs) each, in order of computation.
        shape: of a row; None where a dimension is free. sequential: it was so in Keras.
        head: the output layer that was taken off, as (name, class, options, inputs); None where there was none.
        materialise: False leaves all tensors on the device ``meta``, where they take no memory.
    """

    name: ClassVar[str] = "keras"
    channel_dim: ClassVar[int] = 1

    def __init__(
        self,
        layers: Sequence[Sequence[Any]],
        shape: Sequence[int | None],
        sequential: bool,
        head: Sequence[Any] | None = None,
        materialise: bool = True,
    ) -> None:
        super().__init__()
        self.layers = tuple(Layer(n, k, dict(o), tuple(i)) for n, k, o, i in layers)
        self.shape, self.sequential = tuple(shape), sequential
        self.head = None if head is None else Layer(head[0], head[1], dict(head[2]), tuple(head[3]))
        with torch.device("meta"), torch.no_grad():
            modules, self.ranks = self._mapped()
            self.blocks = nn.ModuleDict()
            for members in blocks(self.layers):
                first = next(filter(weighed, members), members[0])
                self.blocks[plain_name(first.name)] = Block(members, [modules[m.name] for m in members])
            if not self.layers:
                self.blocks["rows"] = nn.Identity()
            self.eval()
            self._dims = tuple(z.shape[1] for z in self.depth_features(self._rows()))
            self.train()
        if materialise:
            self.to_empty(device="cpu")
            self._draw()

    def _rows(self) -> Tensor:
        return torch.empty(2, *(ANY_SIZE if n is None else n for n in self.shape))

    def _mapped(self) -> tuple[dict[str, nn.Module], dict[str, int]]:
        """Modules by layer, and the number of dimensions of what each gives; shapes are tried on the way."""
        known = {INPUT: self.embed(self._rows())}
        made: dict[str, nn.Module] = {}
        for layer in self.layers:
            inputs = [known[name] for name in layer.inputs]
            try:
                made[layer.name] = KINDS[layer.kind].build(layer.options, inputs).eval()
                found = known[layer.name] = made[layer.name](*inputs)
            except (RuntimeError, IndexError, ValueError, TypeError) as error:
                option = str(error) if isinstance(error, WrongOptionError) else ""
                raise ModelError(
                    "TL-MODEL-UNSUPPORTED",
                    f"the layer {layer.name[:60]!r} of the class {layer.kind} does not take its inputs",
                    where=layer.name[:60],
                    found=f"{option} {[tuple(x.shape[1:]) for x in inputs]}".strip(),
                    fix="check that the model predicts in Keras, and save it again",
                ) from error
            if found.numel() > 2 * MOST_VALUES:
                raise ModelError(
                    "TL-MODEL-TOO-BIG",
                    f"the layer {layer.name[:60]!r} declares {found.numel() // 2} numbers for one row",
                    where=layer.name[:60],
                    expected=f"at most {MOST_VALUES}; what is stored does not matter here",
                    fix="use a smaller model, or smaller rows",
                )
        return made, {name: x.ndim for name, x in known.items()}

    def config(self) -> dict[str, Any]:
        return {
            "layers": [layer.to_json() for layer in self.layers],
            "shape": list(self.shape),
            "sequential": self.sequential,
            "head": None if self.head is None else self.head.to_json(),
        }

    def embed(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch.movedim(-1, 1)

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden if hidden.ndim < 3 else hidden.flatten(2).mean(dim=2)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self._dims

    def places(self) -> dict[str, str]:
        """For each layer what its tensors' names in ``state_dict`` begin with."""
        return {
            name: f"blocks.{block}.parts.{plain_name(name)}."
            for block, module in self.blocks.items()
            for name in getattr(module, "names", ())
        }

    def _draw(self) -> None:
        """Keras's defaults: Glorot's uniform kernels, zeros as biases, small uniform embeddings."""
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                draw(module)
            elif isinstance(module, KERNELS):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.uniform_(module.weight, -0.05, 0.05)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
                module.reset_parameters()


def blocks(layers: Sequence[Layer]) -> list[list[Layer]]:
    """The layers in runs: a new one begins at a layer with weights, once the last one holds some, where nothing but
    the output of the layer before is read from there on."""
    at = {INPUT: -1, **{layer.name: i for i, layer in enumerate(layers)}}
    needed = [len(layers)] * (len(layers) + 1)
    for i in range(len(layers) - 1, -1, -1):  # the earliest output that layer i or a later one reads
        needed[i] = min(needed[i + 1], *(at[name] for name in layers[i].inputs))
    found: list[list[Layer]] = [[]]
    for i, layer in enumerate(layers):
        begins = weighed(layer) and needed[i] == i - 1 and any(map(weighed, found[-1]))
        if begins:
            found.append([])
        found[-1].append(layer)
    return [members for members in found if members]


def weighed(layer: Layer) -> bool:
    """Whether the layer has weights other than a normalisation's, which belongs to the layer before it."""
    return not layer.kind.endswith("Normalization") and bool(KINDS[layer.kind].weights(layer.options))


def plain_name(name: str) -> str:
    """A layer's name as a module may be called."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"{plain}_" if hasattr(nn.ModuleDict, plain) or not plain or plain in ("training",) else plain
