"""Vision models of Hugging Face transformers, built from their configuration alone, as backbones with named blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.errors import PluginError
from tlplat.model import Backbone
from tlplat_vision.cnn import as_channels

KINDS = {"vit": "ViT", "convnext": "ConvNext", "resnet": "ResNet"}
"""model_type of config.json -> the prefix of its classes."""


def library() -> Any:
    """The package transformers.

    Raises:
        PluginError TL-PLUGIN-EXTRA: it is not installed, or too old.
    """
    try:
        import transformers
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA",
            f"the model needs the package transformers: {error}",
            fix="pip install 'tlplat-vision[transformers]'",
        ) from error
    return transformers


class TransformersVision(Backbone):
    """A model's embeddings, layers and last norm as blocks; its weights start as transformers starts them.

    Args:
        config: of the model (JSON). mean, std: of each channel of pixels scaled to 0..1.
    """

    def __init__(
        self, config: Mapping[str, Any], mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (0.5,) * 3
    ) -> None:
        super().__init__()
        self._config, self._mean, self._std = dict(config), list(mean), list(std)
        names = library()
        kind = KINDS[config["model_type"]]
        self._settings = getattr(names, f"{kind}Config")(**{k: v for k, v in config.items() if k != "model_type"})
        self.blocks = nn.ModuleDict(self.parts(getattr(names, f"{kind}Model")(self._settings)))
        self.register_buffer("mean", torch.tensor(self._mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self._std).view(1, -1, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    @classmethod
    @abstractmethod
    def parts(cls, model: Any) -> dict[str, nn.Module]:
        """The blocks of a model of the library, in order, sharing its weights."""

    def config(self) -> dict[str, Any]:
        return {"config": self._config, "mean": self._mean, "std": self._std}

    def embed(self, batch: Batch) -> Tensor:
        """uint8 (rows, 1 or 3, height, width) as floats of the model's scale."""
        assert isinstance(batch, Tensor)
        return (as_channels(batch, len(self._mean)).float() / 255 - self.mean) / self.std


class TransformersTokens(TransformersVision):
    """ViT (Dosovitskiy et al. 2021): ``embeddings``, ``layer1`` ..., ``norm``; features are the class token."""

    name: ClassVar[str] = "vision-transformers-tokens"

    @classmethod
    def parts(cls, model: Any) -> dict[str, nn.Module]:
        layers = {f"layer{i}": layer for i, layer in enumerate(model.layers, start=1)}
        return {"embeddings": _Patches(model.embeddings, model.config.image_size), **layers, "norm": model.layernorm}

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden[:, 0]

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (int(self._settings.hidden_size),) * (int(self._settings.num_hidden_layers) + 2)


class TransformersMaps(TransformersVision):
    """ConvNeXt (Liu et al. 2022) and ResNet (He et al. 2016): the stem, ``stage1`` ... and, of ConvNeXt, ``norm``."""

    name: ClassVar[str] = "vision-transformers-maps"
    channel_dim: ClassVar[int] = 1

    @classmethod
    def parts(cls, model: Any) -> dict[str, nn.Module]:
        stages = {f"stage{i}": stage for i, stage in enumerate(model.encoder.stages, start=1)}
        if hasattr(model, "embedder"):
            return {"stem": model.embedder, **stages}
        return {"stem": model.embeddings, **stages, "norm": _PooledNorm(model.layernorm)}

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        widths = [int(width) for width in self._settings.hidden_sizes]
        if self._config["model_type"] == "resnet":
            return int(self._settings.embedding_size), *widths
        return widths[0], *widths, widths[-1]


class _Patches(nn.Module):
    """Patches and positions, which are interpolated for images of another size than the model was trained on."""

    def __init__(self, embeddings: nn.Module, size: int | Sequence[int]) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def forward(self, images: Tensor) -> Tensor:
        other = tuple(images.shape[2:]) != self.size
        out: Tensor = self.embeddings(images, interpolate_pos_encoding=other)
        return out


class _PooledNorm(nn.Module):
    """Mean over the map, then the norm: (rows, channels)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.norm(hidden.mean(dim=(2, 3)))
        return out


BACKBONES: dict[str, type[TransformersVision]] = {
    "vit": TransformersTokens,
    "convnext": TransformersMaps,
    "resnet": TransformersMaps,
}
