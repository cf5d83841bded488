"""A user's module as a backbone: blocks, fresh weights, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tlplat.arrays.backbone import ModuleBackbone, as_source, blocks_of, refilled, registered
from tlplat.errors import ModelError
from tlplat.registry import Registry


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


class Map(nn.Module):
    """Images to a map of features, with a head in a part of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.top = nn.ModuleDict({"norm": nn.BatchNorm2d(4), "out": nn.Conv2d(4, 2, 1)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.top["out"](self.top["norm"](self.conv(x)))
        return out


class Placed(nn.Module):
    """Has a parameter that no layer draws."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(5))
        self.linear = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(x + self.place)
        return out


def test_children_of_a_sequential_are_blocks_without_the_head() -> None:
    module, registry, x = chain(), Registry(), torch.randn(4, 5)
    source = as_source(module, chain, x, "2", registry)
    assert list(blocks_of(chain(), "2")) == ["block0", "block1"]
    assert source.base.args["dims"] == [8, 8]
    torch.testing.assert_close(source.build(registry)(x), module[:2](x))
    assert not torch.equal(source.build(registry, random=True)(x), module[:2](x))


def test_a_head_inside_a_module_is_dropped_and_maps_are_averaged() -> None:
    module, registry, x = Map().eval(), Registry(), torch.randn(3, 1, 6, 6)
    source = as_source(module, Map, x, "top.out", registry)
    built = source.build(registry).eval()
    torch.testing.assert_close(built(x), module.top["norm"](module.conv(x)).mean(dim=(2, 3)))
    assert built.feature_dim == 4
    assert isinstance(module.top["out"], nn.Conv2d), "the user's own module stays as it was"


def test_a_linear_head_comes_along_where_its_labels_are_named() -> None:
    module = chain()
    source = as_source(module, chain, torch.randn(4, 5), "2", Registry(), ["a", "b", "c"])
    assert source.task is not None
    assert source.task.labels == ("a", "b", "c")
    assert source.head is not None
    assert torch.equal(source.head["weight"], module[2].weight)
    with pytest.raises(ModelError, match="no linear layer with an output for each of 2"):
        as_source(module, chain, torch.randn(4, 5), "2", Registry(), ["a", "b"])


def test_copies_draw_their_weights_anew() -> None:
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    module[1].running_mean.fill_(7.0)
    fresh = refilled(module)()
    assert not torch.equal(fresh[0].weight, module[0].weight)
    assert float(fresh[1].running_mean.abs().max()) == 0


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: refilled(Placed()), "fresh weights cannot be drawn for place"),
        (lambda: as_source(m := chain(), lambda: m, torch.randn(2, 5), None, Registry()), "pretrained weights"),
        (lambda: as_source(chain(), chain, torch.randn(2, 6), None, Registry()), "does not take rows"),
        (lambda: as_source(chain(), chain, torch.randn(2, 5), "9", Registry()), "no layer named '9'"),
        (
            lambda: as_source(nn.Flatten(0), lambda: nn.Flatten(0), torch.randn(2, 5), None, Registry()),
            "not \\(rows, features\\)",
        ),
        (lambda: ModuleBackbone("x", [1]), "which no file holds"),
        (lambda: _built(lambda: nn.Linear(5, 3)), "another structure"),
    ],
)
def test_refusals(act, said) -> None:
    with pytest.raises(ModelError, match=said):
        act()


def _built(factory) -> nn.Module:
    made = as_source(chain(), chain, torch.randn(2, 5), None, Registry())
    return made.build(registered(Registry(), factory))
