"""Models of timm (PyTorch Image Models, Wightman 2019) as backbones with named blocks; timm is imported on use."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.errors import ModelError, PluginError
from tlplat.model import Backbone
from tlplat_vision.cnn import as_channels

UNLOADABLE = (ImportError, RuntimeError, OSError, AttributeError)
"""What importing timm raises where it, or the torchvision that it needs, does not load."""


def library() -> Any:
    """The package timm.

    Raises:
        PluginError TL-PLUGIN-EXTRA: it is not installed, or its torchvision does not load beside this torch.
    """
    try:
        import timm
    except UNLOADABLE as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA",
            f"the model needs the package timm, and torchvision of the same build as torch: {error}",
            fix="pip install 'tlplat-vision[timm]' into an environment where torch and torchvision match",
        ) from error
    return timm


def created(model: str, **options: Any) -> Any:
    """The library's model of that name.

    Raises:
        ModelError TL-MODEL-UNKNOWN: it has none of that name, or the name is no plain one.
    """
    names = library()
    if not names.is_model(model):
        near = ", ".join(names.list_models(f"*{model}*")[:5])
        raise ModelError(
            "TL-MODEL-UNKNOWN",
            f"timm has no model {model!r}",
            found=model,
            expected=near or "a name of timm.list_models()",
            fix="choose a name of timm.list_models()",
        )
    return names.create_model(model, **options)


class TimmBackbone(Backbone):
    """A model's stem, stages or layers, and its own pooling as the last block ``pool``.

    ViT, ResNet, ConvNeXt and EfficientNet come in parts; any other model is one block, ``network``.

    Args:
        model: timm's name. options: of ``timm.create_model``. size: pixels of a side, for the blocks' widths.
        mean, std: of each channel of pixels scaled to 0..1. parted: False makes one block of any model.
    """

    name: ClassVar[str] = "vision-timm"
    channel_dim: ClassVar[int] = 1

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any] | None = None,
        size: int = 224,
        mean: Sequence[float] = (0.5,) * 3,
        std: Sequence[float] = (0.5,) * 3,
        parted: bool = True,
    ) -> None:
        super().__init__()
        self._args = {
            "model": model,
            "options": dict(options or {}),
            "size": size,
            "mean": list(mean),
            "std": list(std),
            "parted": parted,
        }
        net = created(model, pretrained=False, num_classes=0, **self._args["options"])
        self.width = int(net.num_features)
        self.blocks = nn.ModuleDict((parts_of(net) if parted else None) or {"network": net})
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1), persistent=False)
        self._dims = self._widths(size)

    mean: Tensor
    std: Tensor

    def config(self) -> dict[str, Any]:
        return dict(self._args)

    def embed(self, batch: Batch) -> Tensor:
        """uint8 (rows, 1 or 3, height, width) as floats of the model's scale."""
        assert isinstance(batch, Tensor)
        return (as_channels(batch, self.mean.shape[1]).float() / 255 - self.mean) / self.std

    def pool(self, hidden: Tensor) -> Tensor:
        """Mean of a map (channels first, or last as in Swin), the first of tokens."""
        if hidden.ndim == 4:
            last = hidden.shape[3] == self.width != hidden.shape[1]
            return hidden.mean(dim=(1, 2) if last else (2, 3))
        return hidden[:, 0] if hidden.ndim == 3 else hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self._dims

    def _widths(self, size: int) -> tuple[int, ...]:
        """Found with tensors that hold nothing (meta)."""
        hidden, found = torch.zeros(2, self.mean.shape[1], size, size, device="meta"), []
        for block in copy.deepcopy(self.blocks).to("meta").eval().values():
            hidden = block(hidden)
            found.append(int(self.pool(hidden).shape[1]))
        return tuple(found)


def parts_of(net: Any) -> dict[str, nn.Module] | None:
    """The blocks, in order, of a model without a classifier, taken out of it; None for a kind that is not known."""
    made = _PARTS.get(type(net).__name__)
    return None if made is None else made(net)


def _efficientnet(net: Any) -> dict[str, nn.Module]:
    stages = {f"stage{i}": stage for i, stage in enumerate(net.blocks, start=1)}
    stem, top = nn.Sequential(net.conv_stem, net.bn1), nn.Sequential(net.conv_head, net.bn2)
    return {"stem": stem, **stages, "top": top, "pool": net.global_pool}


def _resnet(net: Any) -> dict[str, nn.Module]:
    stages = {f"layer{i}": getattr(net, f"layer{i}") for i in range(1, 5)}
    return {"stem": nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool), **stages, "pool": net.global_pool}


def _convnext(net: Any) -> dict[str, nn.Module]:
    stages = {f"stage{i}": stage for i, stage in enumerate(net.stages, start=1)}
    return {"stem": net.stem, **stages, "pool": nn.Sequential(net.norm_pre, net.head)}


def _vision_transformer(net: Any) -> dict[str, nn.Module] | None:
    if net.global_pool not in ("token", "avg"):
        return None
    layers = {f"layer{i}": layer for i, layer in enumerate(net.blocks, start=1)}
    pool = _TokenPool(net.global_pool, int(net.num_prefix_tokens), net.fc_norm)
    norm = net.norm
    net.blocks, net.norm, net.fc_norm = nn.Sequential(), nn.Identity(), nn.Identity()
    return {"embeddings": _Embeddings(net), **layers, "norm": norm, "pool": pool}


_PARTS: dict[str, Callable[[Any], dict[str, nn.Module] | None]] = {
    "EfficientNet": _efficientnet,
    "ResNet": _resnet,
    "ConvNeXt": _convnext,
    "VisionTransformer": _vision_transformer,
}


class _Embeddings(nn.Module):
    """Patches, positions and extra tokens of a vision transformer that has lost its layers."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.net.patch_drop(self.net._pos_embed(self.net.patch_embed(images)))
        out: Tensor = self.net.norm_pre(tokens)
        return out


class _TokenPool(nn.Module):
    """The class token, or the mean over the patches; then a norm."""

    def __init__(self, kind: str, prefix: int, norm: nn.Module) -> None:
        super().__init__()
        self.kind, self.prefix, self.norm = kind, prefix, norm

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.norm(hidden[:, 0] if self.kind == "token" else hidden[:, self.prefix :].mean(dim=1))
        return out
