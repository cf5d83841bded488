"""EfficientNet-Lite arranged for extraction: norms folded into convolutions, channels last, pointwise ones fused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.ops import FrozenBlock, extract_features
from tlplat_vision.efficientnet import EfficientNetLite, InvertedBottleneck, SamePad

PIXELS = 200_000
"""Of the images that go through the network together: what their first maps need stays near the processor's caches."""
Step = Callable[[Tensor], Tensor]
"""A map (rows, channels, height, width) to another, both with channels last in memory."""


def extractor(net: EfficientNetLite, precision: str) -> Callable[[Batch], Tensor] | None:
    """Features (rows, width) as the network's own forward gives them in eval mode, to rounding.

    None where a block is not made of plain convolutions in float32 on the CPU: then the modules must run.
    """
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in net.parameters()):
        return None
    steps: list[Step] = []
    for block in net.blocks.values():
        made = _block(block, precision)
        if made is None:
            return None
        steps += made
    _keep_freed_memory()

    def few(batch: Batch) -> Tensor:
        hidden = net.embed(batch).contiguous(memory_format=torch.channels_last)
        for step in steps:
            hidden = step(hidden)
        return net.pool(hidden)

    def run(batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        count = max(1, PIXELS // batch[0, 0].numel()) if len(batch) else 1
        return torch.cat([few(part) for part in batch.split(count)])

    return run


def _keep_freed_memory() -> None:
    """Let glibc keep what the steps free instead of mapping every map of every image anew, a third of the time.

    A chunk of just under 32 MiB, freed once, raises the sizes from which memory goes back to the system: mallopt(3),
    M_MMAP_THRESHOLD. It is never touched, so it costs nothing; other allocators do not mind.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _block(block: nn.Module, precision: str) -> list[Step] | None:
    if type(block) is not nn.Sequential:
        return None
    inside = list(block)
    if not all(type(m) is InvertedBottleneck for m in inside):
        return _convolution(block, precision)
    found: list[Step] = []
    for bottleneck in inside:
        parts = [_convolution(p, precision) for p in (bottleneck.widen, bottleneck.filter, bottleneck.narrow)]
        if None in parts:
            return None
        found.append(_added([step for part in parts for step in part or ()], bottleneck.adds))
    return found


def _added(steps: list[Step], adds: bool) -> Step:
    def run(hidden: Tensor) -> Tensor:
        out = hidden
        for step in steps:
            out = step(out)
        return out.add_(hidden) if adds else out

    return run


def _convolution(block: nn.Module, precision: str) -> list[Step] | None:
    """Padding where there is one, convolution, norm, ReLU6 where there is one, as a single step; [] for nothing."""
    parts = list(block) if type(block) is nn.Sequential else [block]
    if not parts:
        return []
    pad = parts.pop(0) if type(parts[0]) is SamePad else None
    kinds = [type(part) for part in parts]
    if kinds not in ([nn.Conv2d, nn.BatchNorm2d], [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]):
        return None
    convolution, norm, bounded = parts[0], parts[1], len(parts) == 3
    if not norm.track_running_stats or norm.weight is None:
        return None
    weight, bias = folded(convolution, norm)
    if convolution.kernel_size == (1, 1) and convolution.groups == 1 and pad is None and convolution.stride == (1, 1):
        return [_pointwise(weight.flatten(1), bias, bounded, precision)]
    weight = weight.contiguous(memory_format=torch.channels_last)

    def run(hidden: Tensor) -> Tensor:
        given = hidden if pad is None else pad(hidden)
        out = F.conv2d(given, weight, bias, convolution.stride, convolution.padding, groups=convolution.groups)
        return F.hardtanh_(out, 0.0, 6.0) if bounded else out

    return [run]


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does what both do in eval mode."""
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        mean = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
        return convolution.weight * scale[:, None, None, None], norm.bias - mean * scale


def _pointwise(weight: Tensor, bias: Tensor, bounded: bool, precision: str) -> Step:
    """A convolution of 1 x 1 is one product over all places of all images."""
    block = FrozenBlock(weight.contiguous(), bias)

    def run(hidden: Tensor) -> Tensor:
        last = hidden.permute(0, 2, 3, 1)
        out = extract_features(last.reshape(-1, last.shape[3]), block, precision=precision)  # type: ignore[arg-type]
        out = F.hardtanh_(out, 0.0, 6.0) if bounded else out
        return out.view(*last.shape[:3], -1).permute(0, 3, 1, 2)

    return run
