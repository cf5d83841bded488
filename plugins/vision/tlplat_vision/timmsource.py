"""A timm model as a source: its pretrained weights, or a weights file of the user's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from tlplat.data.examples import state_digest
from tlplat.domain import DomainContext
from tlplat.errors import ModelError, ResourceError
from tlplat.model import SourceModel
from tlplat.modelio import load_state
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import read_weights
from tlplat_vision.preprocess import RESAMPLING, Preprocess
from tlplat_vision.timmnet import TimmBackbone, created, library, parts_of

PREFIX = "timm:"
CLOSE = 1e-4
"""How near the parts' output must be to the whole model's, relative to its largest feature."""


@torch.random.fork_rng(devices=[])
def load_timm(name: str, checkpoint: Path | None, context: DomainContext) -> SourceModel:
    """The model ``name`` with the weights in ``checkpoint``, else those that timm fetches from its hub.

    Raises:
        PluginError TL-PLUGIN-EXTRA: timm does not load. ModelError TL-MODEL-UNKNOWN: no such model.
        TL-MODEL-KEYS, TL-MODEL-SHAPE: the file's tensors do not fit it. What :func:`read_weights` raises.
        ResourceError TL-ASSET-OFFLINE, TL-ASSET-DOWNLOAD: no weights to be had.
    """
    options = _options(name)
    if checkpoint is None:
        net, file = _pretrained(name, options, context), "timm's pretrained weights"
    else:
        net, file = _from_file(name, options, checkpoint), checkpoint.name
    shown, mean, std = _shown(net)
    head, classes = _head(net)
    net.reset_classifier(0)
    base, state = _settled(name, options, net, shown, mean, std)
    card = dict(getattr(net, "pretrained_cfg", None) or {})
    return SourceModel(
        name=name,
        base=base,
        state=state,
        head=head,
        task=None if head is None else Classification(labels=[f"class-{i}" for i in range(classes)]).info(),
        preprocess=shown.to_json(),
        provenance={
            "data": f"{file}, of timm's model {name}",
            "license": str(card.get("license") or "not stated") if checkpoint is None else "not stated",
            "citation": "Wightman 2019, PyTorch Image Models" if checkpoint is None else "not stated",
            "weights_sha256": state_digest(state),
            "timm": library().__version__,
        },
    )


def _options(name: str) -> dict[str, Any]:
    """A vision transformer is told to take images of any size."""
    return {"dynamic_img_size": True} if type(created(name, pretrained=False)).__name__ == "VisionTransformer" else {}


def _pretrained(name: str, options: dict[str, Any], context: DomainContext) -> Any:
    if context.offline:
        raise ResourceError(
            "TL-ASSET-OFFLINE",
            f"timm would fetch the weights of {name}, and --offline forbids the network",
            fix="give the weights with --checkpoint FILE, or leave --offline out",
        )
    try:
        return created(name, pretrained=True, **options).eval()
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises what each of its transports does
        raise ResourceError(
            "TL-ASSET-DOWNLOAD",
            f"timm could not fetch the weights of {name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
            fix="check the network, or give the weights with --checkpoint FILE",
        ) from error


def _from_file(name: str, options: dict[str, Any], checkpoint: Path) -> Any:
    tensors = read_weights(checkpoint)
    blank = created(name, pretrained=False, **options)
    classifier = (getattr(blank, "pretrained_cfg", None) or {}).get("classifier")
    weight = tensors.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    net = created(name, pretrained=False, num_classes=0 if weight is None else len(weight), **options)
    own = net.state_dict()
    missing = {k: own[k] for k in own if k.endswith("num_batches_tracked") and k not in tensors}
    load_state(net, {**tensors, **missing}, str(checkpoint))
    return net.eval()


def _head(net: Any) -> tuple[dict[str, torch.Tensor] | None, int]:
    """Weight and bias of a linear classifier over the features, and its classes."""
    linear, width = net.get_classifier(), getattr(net, "head_hidden_size", net.num_features)
    if not isinstance(linear, torch.nn.Linear) or linear.in_features != width or linear.out_features < 2:
        return None, 0
    weight = linear.weight.detach().float()
    bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float()
    return {"weight": weight.clone(), "bias": bias.clone()}, len(weight)


def _shown(net: Any) -> tuple[Preprocess, list[float], list[float]]:
    """As timm's data configuration of the model says."""
    given = library().data.resolve_model_data_config(net)
    channels, size, _ = given["input_size"]
    resample = given["interpolation"] if given["interpolation"] in RESAMPLING else "bicubic"
    shown = Preprocess(int(size), int(channels), "crop", float(given["crop_pct"]), resample=resample)
    return shown, [float(v) for v in given["mean"]], [float(v) for v in given["std"]]


def _settled(
    name: str, options: dict[str, Any], net: Any, shown: Preprocess, mean: list[float], std: list[float]
) -> tuple[Ref, dict[str, torch.Tensor]]:
    """Factory and tensors: in parts where these give the whole model's features, else as one block."""
    side = shown.size
    parts = parts_of(copy.deepcopy(net))
    if parts is not None:
        parted = TimmBackbone(name, options, side, mean, std).eval()
        parted.blocks.load_state_dict(torch.nn.ModuleDict(parts).state_dict())
        generator = torch.Generator().manual_seed(0)
        batch = torch.randint(0, 256, (2, shown.channels, side, side), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            wanted, found = net(parted.embed(batch)), parted(batch)
        if float((wanted - found).abs().max()) <= CLOSE * float(wanted.abs().max()):
            return Ref(parted.name, parted.config()), _copied(parted)
    whole = TimmBackbone(name, options, side, mean, std, parted=False)
    whole.blocks["network"].load_state_dict(net.state_dict())
    return Ref(whole.name, whole.config()), _copied(whole)


def _copied(backbone: TimmBackbone) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in backbone.state_dict().items()}
