"""Which columns see which units, on networks whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tlplat.probing import can_be_copied, find_units, known_units, units_of
from tlplat.testing.nets import Net, made
from tlplat.units import Reader, Selection, Units, copies, shares, without


class Blocks(Net):
    name = "given_blocks"
    shape = (4,)

    def __init__(self, dims, **blocks: nn.Module) -> None:
        super().__init__()
        self.dims = dims
        self.blocks = nn.ModuleDict(blocks)


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def found(*between: nn.Module, width: int = 6, inputs: int = 6) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Readers of the first of two linear layers, with ``between`` on the way."""
    net = Blocks((width, 3), a=nn.Linear(4, width), on=nn.Sequential(*between), b=nn.Linear(inputs, 3)).eval()
    units = [u for u in find_units(net, net.batch(2)) if u.layers == {"blocks.a"}]
    return {name: reader.seen for name, reader in units[0].readers.items()} if units else {}


ALONE = {"blocks.b": tuple((u,) for u in range(6))}


@pytest.mark.parametrize(
    "between",
    [
        [nn.ReLU()],
        [nn.GELU(), nn.Dropout(0.5)],
        [nn.Sigmoid()],
        [Function(lambda x: x * 0), nn.Tanh()],
        [Function(lambda x: x.clamp(min=0))],
    ],
)
def test_alone(between):
    assert found(*between) == ALONE


@pytest.mark.parametrize(
    "between",
    [
        [nn.Softmax(dim=1)],
        [nn.LayerNorm(6)],
        [Function(lambda x: x - x.mean(dim=1, keepdim=True))],
        [Function(lambda x: x.cumsum(dim=1))],
        [Function(lambda x: x + torch.ones(6))],
        [Function(lambda x: x.nan_to_num() if bool(x.isnan().any()) else x)],
    ],
)
def test_not_alone(between):
    """Mixed with others, normalised over all, tied to a constant of fixed width, or not to be looked through."""
    assert found(*between) == {}


def test_code_that_refuses_nan_is_passed_over():
    def strict(x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("NaN")
        return x

    assert found(Function(strict)) == {}


def test_layouts():
    twice = found(Function(lambda x: torch.cat([x, x], dim=1)), inputs=12)
    assert twice == {"blocks.b": tuple((u, u + 6) for u in range(6))}
    spread = found(Function(lambda x: x.repeat_interleave(3, dim=1)), inputs=18)
    assert spread == {"blocks.b": tuple(tuple(range(3 * u, 3 * u + 3)) for u in range(6))}
    masked = found(Function(lambda x: torch.cat([x, torch.ones(len(x), 1)], dim=1)), inputs=7)
    assert masked == ALONE


@pytest.mark.parametrize("width", [1, 2, 7, 16])
def test_any_width(width):
    assert found(nn.ReLU(), width=width, inputs=width) == {"blocks.b": tuple((u,) for u in range(width))}


def test_added_outputs_stand_together():
    model = made("conv2d_net")
    x = model.backbone.batch(2)
    assert [u.layers for u in find_units(model.backbone, x)] == [{"blocks.residual.inner"}]
    both = units_of(model.backbone, ["blocks.stem.0", "blocks.residual.outer"], x)
    assert both.norms == {"blocks.stem.1"}
    assert can_be_copied(model.backbone, both, x)
    one = units_of(model.backbone, ["blocks.stem.0"], x)
    assert not can_be_copied(model.backbone, one, x)
    assert units_of(model.backbone, ["blocks.stem.0", "blocks.residual.inner"], x) is None


def test_the_network_is_left_as_it_was():
    model = made("transformer_net").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ids = [id(p) for p in model.parameters()]
    first = known_units(model.backbone, model.backbone.batch(2))
    assert known_units(model.backbone, model.backbone.batch(2)) is first
    assert all(m.training for m in model.modules())
    assert ids == [id(p) for p in model.parameters()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_lists():
    units = Units(frozenset({"a"}), 2, frozenset({"n"}), {"b": Reader(((0, 1, 5, 6), (2, 3, 7, 8)), 10)})
    assert copies(units, [0]) == {
        "a": Selection(out=[0, 1, 0]),
        "n": Selection(out=[0, 1, 0]),
        "b": Selection(inputs=[0, 1, 2, 3, 0, 1, 4, 5, 6, 7, 8, 5, 6, 9]),
    }
    assert without([units], [[1]]) == {
        "a": Selection([0]),
        "b": Selection(None, [0, 1, 4, 5, 6, 9]),
        "n": Selection([0]),
    }
    assert shares([0, 1, 0, 2], 0.25) == [0.75, 1.0, 0.25, 1.0]
