"""Attributions find a planted signal, add up where they promise to, and need captum."""

import sys

import pytest
import torch
from torch import nn

from tlplat.attribution import TOLERANCE, attribute
from tlplat.data.examples import TensorInputs
from tlplat.errors import PluginError
from tlplat.model import Backbone, TransferModel
from tlplat.pieces import Columns, Explainer, Gradients, Occlusion, each_element, evenly
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression
from tlplat.testing.workbench import toybench

WIDTH = 6


class Net(Backbone):
    """Float rows through one dense block, or token ids through an embedding first."""

    name = "attributed_net"

    def __init__(self, tokens: bool = False):
        super().__init__()
        torch.manual_seed(0)
        dense = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh())
        self.blocks = nn.ModuleDict({"table": Table(), "dense": dense} if tokens else {"dense": dense})

    def config(self):
        return {}

    def embed(self, batch):
        return batch

    def pool(self, hidden):
        return hidden

    @property
    def block_dims(self):
        return (8,) * len(self.blocks)


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.numbers = nn.Embedding(5, 1)

    def forward(self, tokens):
        return self.numbers(tokens.long())[..., 0]


def planted(column: int, tokens: bool = False) -> TransferModel:
    """A model whose outputs depend on one place alone."""
    backbone = Net(tokens)
    with torch.no_grad():
        weight = backbone.blocks["dense"][0].weight
        weight *= (torch.arange(WIDTH) == column).float()
    return TransferModel(backbone, nn.Linear(8, 2)).eval()


class Places(Explainer):
    """Token ids; ``given`` is the way."""

    unit = "place"

    def __init__(self, given):
        self.given = given

    def way(self, backbone):
        return self.given

    def texts(self, batch):
        return [[str(t) for t in row] for row in batch.tolist()]


def columns() -> Columns:
    return Columns([f"c{i}" for i in range(WIDTH)], torch.arange(WIDTH), torch.zeros(WIDTH), "zeros")


def floats(rows=20):
    return TensorInputs(torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1)))


def ids(rows=20):
    return TensorInputs(torch.randint(1, 5, (rows, WIDTH), generator=torch.Generator().manual_seed(1)))


TASK = Classification(["a", "b"])
ABLATE = Occlusion(torch.zeros_like, each_element, "zeros")


def only(column, values):
    sizes = values.abs().mean(dim=0)
    assert sizes[column] > 0.05
    assert float(sizes.sum() - sizes[column]) < 1e-6


@pytest.mark.parametrize("column", [0, 4])
def test_gradients_find_the_planted_column(column):
    only(column, attribute(planted(column), TASK, columns(), floats()).values)


@pytest.mark.parametrize(
    "way",
    [
        ABLATE,
        Gradients(
            lambda given, tokens: torch.zeros_like(given), lambda values, tokens: values, "an empty table", at="table"
        ),
    ],
    ids=["occlusion", "a block's output"],
)
def test_the_planted_position_of_token_ids_is_found(way):
    only(3, attribute(planted(3, tokens=True), TASK, Places(way), ids()).values)


def test_a_sliding_window_and_regions_find_where_it_is():
    """A window over an image's squares, and stretches of a row that are replaced together."""

    class Bright(Net):
        def embed(self, batch):
            return batch[:, 0, 6:9, 2:4].float().flatten(1)

    images = torch.randint(0, 255, (12, 1, 12, 12), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    way = Occlusion(torch.zeros_like, lambda v, _: v[:, 0].flatten(1), "black", window=(1, 3, 3), stride=(1, 1, 1))
    model = TransferModel(Bright(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        model.backbone.blocks["dense"][0].weight /= 100
    heat = attribute(model, TASK, Places(way), TensorInputs(images)).values.abs().mean(dim=0).view(12, 12)
    assert heat[7, 2:4].min() > 3 * heat[:3].max()
    assert float(heat[:, 7:].max()) == 0.0
    halves = Occlusion(torch.zeros_like, each_element, "zeros", regions=lambda batch: evenly(batch, 2))
    values = attribute(planted(4), TASK, Places(halves), floats()).values
    assert torch.equal(values[:, 3], values[:, 5])
    assert values[:, 3].abs().mean() > 0.05 > 1e-6 > values[:, :3].abs().max()


def test_attributions_add_up(registry):
    """Completeness: a row's sum is its decision less that of the row of zeros, for a network that was fine-tuned."""
    bench = toybench(registry)
    model = bench.run("full_ft").model
    explainer = registry.get("domains", "toy")().explainer({}, model.backbone)
    found = attribute(model, bench.target.task, explainer, bench.target.test.inputs)
    assert found.gap is not None
    assert found.gap <= TOLERANCE
    sums, sizes = found.values.sum(dim=1), found.values.abs().sum(dim=1)
    assert ((sums - (found.decision - found.neutral)).abs() <= TOLERANCE * sizes + 1e-5).all()
    assert (found.decision - found.neutral).abs().max() > 0.5
    with torch.no_grad():
        zeros = model(torch.zeros(1, 12))
    chosen = found.outputs.argmax(dim=1)
    neutral = bench.target.task.decision(zeros.expand(len(chosen), -1), chosen)
    torch.testing.assert_close(found.neutral, neutral, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["dense", "tokens"])
@pytest.mark.parametrize("strategy", ["side_tune", "head2toe", "truncate", "net2wider", "prototype"])
def test_columns_add_up_whatever_stands_between(registry, strategy, backbone):
    """Structures that strategies make: a network beside, taps on all blocks, fewer blocks, wider ones, another head."""
    bench = toybench(registry, backbone=backbone)
    model = bench.run(strategy).model
    explainer = registry.get("domains", "toy")().explainer({}, model.backbone)
    found = attribute(model, bench.target.task, explainer, bench.target.test.inputs.select(torch.arange(20)))
    assert found.gap is not None
    assert found.gap <= TOLERANCE
    assert found.values.abs().sum(dim=1).min() > 1e-3


def test_rows_stay_in_order_and_weights_and_model_as_they_were():
    """Batches may come in any order; a row's attributions are those that it has alone."""

    class Reversed(TensorInputs):
        def batches(self, size):
            return [part.flip(0) for part in torch.arange(len(self)).flip(0).split(7)]

    model = TransferModel(Net(), nn.Linear(8, 1)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    inputs = Reversed(floats().tensor)
    found = attribute(model, Regression(), columns(), inputs)
    for row in (0, 8, 19):
        alone = attribute(model, Regression(), columns(), inputs.select(torch.tensor([row])))
        torch.testing.assert_close(found.values[row], alone.values[0], atol=1e-4, rtol=1e-3)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "embed" not in vars(model.backbone)


def test_named_tensors_and_what_the_first_block_receives():
    class Named(Net):
        def embed(self, batch):
            return batch["x"] * batch["scale"]

    class Pairs(TensorInputs):
        def take(self, index):
            return {"x": self.tensor[index], "scale": 1.0 + index[:, None].float()}

    model = TransferModel(Named(), nn.Linear(8, 2)).eval()
    way = Gradients(lambda given, batch: torch.zeros_like(given), lambda values, batch: values, "zeros")
    found = attribute(model, TASK, Places(way), Pairs(floats().tensor))
    assert found.gap is not None
    assert found.gap <= TOLERANCE
    torch.testing.assert_close(found.values.sum(dim=1), found.decision - found.neutral, atol=0.05, rtol=0.05)


def test_decisions_of_classification():
    """Log-odds of the likeliest label: what softmax says, and a logit where labels stand alone."""
    outputs = torch.tensor([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0]])
    task = Classification(["a", "b", "c"])
    chosen = task.chosen(outputs)
    p = torch.softmax(outputs, dim=1).amax(dim=1)
    torch.testing.assert_close(task.decision(outputs, chosen), torch.log(p / (1 - p)))
    several = Classification(["a", "b", "c"], multi_label=True)
    assert several.decision(outputs, several.chosen(outputs)).tolist() == [2.0, 3.0]


def test_without_captum_the_extra_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(PluginError, match=r"TL-PLUGIN-EXTRA") as caught:
        attribute(planted(0), TASK, columns(), floats())
    assert "pip install 'tlplat[explain]'" in caught.value.fix
