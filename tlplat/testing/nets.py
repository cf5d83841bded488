"""Backbones of the kinds that structural strategies meet: convolutions, residual blocks, transformers, recurrence."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone, BackboneInfo, TransferModel


class Net(Backbone):
    """Blocks in order; features are the mean over all dimensions but ``channels``."""

    dims: tuple[int, ...]
    shape: ClassVar[tuple[int, ...]]
    channels: ClassVar[int] = 1

    def config(self) -> dict[str, Any]:
        return {}

    def embed(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch.float()

    def pool(self, hidden: Tensor) -> Tensor:
        kept = self.channels % hidden.ndim
        return hidden.mean(dim=[d for d in range(1, hidden.ndim) if d != kept]) if hidden.ndim > 2 else hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.dims

    def batch(self, rows: int = 6, seed: int = 0) -> Tensor:
        """Random rows that the net takes."""
        return torch.randn(rows, *self.shape, generator=torch.Generator().manual_seed(seed))


class Conv1dNet(Net):
    """Two 1-D convolutions with batch norm, in plain sequences."""

    name: ClassVar[str] = "conv1d_net"
    shape = (3, 20)

    def __init__(self) -> None:
        super().__init__()
        self.dims = (6, 8)
        self.blocks = nn.ModuleDict(
            {
                "a": nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2)),
                "b": nn.Sequential(nn.Conv1d(6, 8, 3, stride=2), nn.ReLU()),
            }
        )


class Residual(nn.Module):
    """``relu(x + conv(relu(bn(conv(x)))))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, 10, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.outer = nn.Conv2d(10, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(F.relu(self.norm(self.inner(x)))))


class Conv2dNet(Net):
    """A stem, a residual block, and a dense block that flattens."""

    name: ClassVar[str] = "conv2d_net"
    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.dims = (6, 6, 7)
        self.blocks = nn.ModuleDict(
            {
                "stem": nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)),
                "residual": Residual(6),
                "dense": nn.Sequential(nn.Flatten(), nn.Linear(6 * 16, 7), nn.GELU()),
            }
        )


class Transformer(Net):
    """Two of torch's encoder layers, whose inference is fused unless something keeps it from that."""

    name: ClassVar[str] = "transformer_net"
    shape = (5, 16)
    channels = -1

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        self.dims = (16, 16)
        self.norm_first = norm_first
        self.blocks = nn.ModuleDict(
            {
                name: nn.TransformerEncoderLayer(16, 2, 24, dropout=0.1, batch_first=True, norm_first=norm_first)
                for name in ("one", "two")
            }
        )

    def config(self) -> dict[str, Any]:
        return {"norm_first": self.norm_first}


class Recurrent(nn.Module):
    """The states of an LSTM at each time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.lstm(x)[0]
        return states


class RecurrentNet(Net):
    """One LSTM: nothing linear to edit."""

    name: ClassVar[str] = "recurrent_net"
    shape = (7, 4)
    channels = -1

    def __init__(self) -> None:
        super().__init__()
        self.dims = (6,)
        self.blocks = nn.ModuleDict({"lstm": Recurrent()})


class GroupedNet(Net):
    """Grouped convolutions alone."""

    name: ClassVar[str] = "grouped_net"
    shape = (4, 9)

    def __init__(self) -> None:
        super().__init__()
        self.dims = (8,)
        self.blocks = nn.ModuleDict({"a": nn.Sequential(nn.Conv1d(4, 8, 3, groups=4), nn.ReLU())})


NETS: dict[str, type[Net]] = {n.name: n for n in (Conv1dNet, Conv2dNet, Transformer, RecurrentNet, GroupedNet)}


def made(name: str, seed: int = 0, **args: Any) -> TransferModel:
    """The net with weights of ``seed``, normalisation statistics unlike the initial ones, and a head of 2, in eval."""
    torch.manual_seed(seed)
    backbone = NETS[name](**args)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    model = TransferModel(backbone, nn.Linear(backbone.feature_dim, 2)).eval()
    model.example = backbone.batch(2)
    return model


def info(model: TransferModel) -> BackboneInfo:
    """What a strategy would be told of the model's backbone."""
    return BackboneInfo.of(model.backbone, example=model.example)
