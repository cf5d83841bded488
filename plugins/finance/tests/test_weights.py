"""A weights file of the domain's network as the source of a table."""

from __future__ import annotations

import pytest
import torch
from commandline import tlplat
from tlplat_finance.sources import FinanceNet

from tlplat.errors import ModelError
from tlplat.intake import Intake, NetworkInput
from tlplat.storage import write_tensors
from tlplat.tablesource import load_weights

QUICK = (
    "--strategy",
    "linear_probe,full_ft",
    "--set",
    "train.steps=5",
    "--seeds",
    "1",
    "--jobs",
    "1",
    "--threads",
    "1",
)
OWN = ("--domain", "finance", "--target", "outcome", "--time", "date", "--offline", "--json")


def feed(network: NetworkInput) -> Intake:
    return Intake(tuple(n or 1 for n in network.shape), {"columns": []})


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return FinanceNet(2, [8, 6, 4]).state_dict()


def test_widths_head_and_labels_are_told_by_the_file(state, tmp_path):
    torch.save(state, tmp_path / "a.pt")
    source = load_weights(tmp_path / "a.pt", FinanceNet, "finance", feed)
    assert (source.base.args["inputs"], source.base.args["widths"], source.head) == (2, [8, 6, 4], None)
    whole = {f"backbone.{k}": v for k, v in state.items()}
    whole |= {"head.weight": torch.ones(2, 4), "head.bias": torch.zeros(2)}
    about = {"manifest": '{"domain": "finance"}', "labels": '["good", "bad"]', "preprocess": "{}"}
    write_tensors(tmp_path / "b.safetensors", whole, about)
    source = load_weights(tmp_path / "b.safetensors", FinanceNet, "finance", feed)
    assert source.task.labels == ("good", "bad")
    assert torch.equal(source.state["blocks.layer1.0.weight"], state["blocks.layer1.0.weight"])


def test_what_does_not_fit(state, tmp_path):
    def code(tensors: dict[str, torch.Tensor]) -> str:
        torch.save(tensors, tmp_path / "m.pt")
        with pytest.raises(ModelError) as caught:
            load_weights(tmp_path / "m.pt", FinanceNet, "finance", feed)
        return caught.value.code

    assert code({"fc.weight": torch.ones(2, 2)}) == "TL-MODEL-UNSUPPORTED"
    assert code({k: v for k, v in state.items() if "layer1" not in k}) == "TL-MODEL-UNSUPPORTED"
    assert code({k: v for k, v in state.items() if not k.endswith("bias")}) == "TL-MODEL-KEYS"
    assert code({**state, "blocks.layer2.0.bias": torch.ones(3)}) == "TL-MODEL-SHAPE"
    assert code({**state, "head.weight": torch.ones(2, 5), "head.bias": torch.ones(2)}) == "TL-MODEL-SHAPE"


def test_a_run_from_a_state_dict(state, loans, write, tmp_path):
    """Columns of numbers as they are; unlike an ONNX graph's, these weights move."""
    write("loans.csv", [{**row, "income": row["income"] or "100"} for row in loans(160, 2)])
    torch.save(state, tmp_path / "net.pt")
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    done = tlplat("run", *OWN, "--data", "loans.csv", "--source", "net.pt", *QUICK, "--out", "run", **place)
    assert done.code == 0, done.err
    assert {"linear_probe", "full_ft", "scratch"} <= {c["strategy"] for c in done.document["candidates"]}
    torch.save(FinanceNet(9).state_dict(), tmp_path / "wide.pt")
    wide = tlplat("run", *OWN, "--data", "loans.csv", "--source", "wide.pt", *QUICK, "--out", "no", **place)
    assert (wide.code, wide.error) == (4, "TL-MODEL-INPUT")
    assert "rows of 2 numbers: income, years (loans.csv)" in wide.err
