"""Weights files of the domain's own networks as sources: told by their tensors, refused by name where they differ."""

from __future__ import annotations

import pytest
import torch
from commandline import tlplat
from tlplat_genomics.checkpoint import load_checkpoint
from tlplat_genomics.sources import RECIPES

from tlplat.errors import ModelError
from tlplat.storage import write_tensors

QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--json")


def network(registry, task: str, kind: str):
    base = RECIPES[task, kind].base
    torch.manual_seed(0)
    return registry.get("backbones", base.name)(**base.args)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
@pytest.mark.parametrize(("task", "of"), list(RECIPES))
def test_each_network_is_told_by_its_tensors(task, of, kind, registry, tmp_path):
    net = network(registry, task, of)
    state = {f"backbone.{k}": v for k, v in net.state_dict().items()}
    state |= {"head.weight": torch.ones(3, net.feature_dim), "head.bias": torch.zeros(3)}
    path = tmp_path / f"m.{kind}"
    torch.save(state, path) if kind == "pt" else write_tensors(path, state)
    source = load_checkpoint(path, task)
    assert source.base.name == net.name
    tokens = torch.randint(0, 4, (3, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(source.build(registry).eval()(tokens), net.eval()(tokens))
    assert source.task.labels == ("class-0", "class-1", "class-2")


def test_an_export_brings_its_labels_and_windows(registry, tmp_path):
    net = network(registry, "coding", "codon")
    state = {f"backbone.{k}": v for k, v in net.state_dict().items()}
    state |= {"head.weight": torch.ones(2, net.feature_dim), "head.bias": torch.zeros(2)}
    about = {
        "manifest": '{"domain": "genomics"}',
        "labels": '["between", "coding"]',
        "preprocess": '{"length": 120, "pad": true}',
    }
    write_tensors(tmp_path / "m.safetensors", state, about)
    source = load_checkpoint(tmp_path / "m.safetensors", "coding")
    assert source.task.labels == ("between", "coding")
    assert source.preprocess["length"] == 120
    write_tensors(tmp_path / "n.safetensors", state, {**about, "preprocess": '{"length": "x"}'})
    assert load_checkpoint(tmp_path / "n.safetensors", "coding").preprocess["length"] == 200


def test_what_does_not_fit_is_named(registry, tmp_path):
    state = network(registry, "coding", "cnn").state_dict()
    names = list(state)

    def refused(tensors: dict[str, torch.Tensor]) -> str:
        torch.save(tensors, tmp_path / "m.pt")
        with pytest.raises(ModelError) as caught:
            load_checkpoint(tmp_path / "m.pt", "coding")
        return caught.value.render()

    said = refused({k: state[k] for k in names[: len(names) * 7 // 10]} | {"more": torch.ones(1)})
    assert [w for w in ("TL-MODEL-KEYS", "missing", "unexpected", "backbone") if w not in said] == []
    said = refused({**state, names[0]: torch.ones(1, 2), names[1]: torch.ones(7)})
    assert [
        w for w in ("TL-MODEL-SHAPE", "2 tensors", names[0], names[1], "expected", "got (1, 2)") if w not in said
    ] == []
    assert "TL-MODEL-SHAPE" in refused({**state, "head.weight": torch.ones(2, 3), "head.bias": torch.ones(2)})


def test_a_run_from_a_file(dna, write, registry, tmp_path):
    """mdl-missing-keys too: through the command line."""
    state = network(registry, "start-site", "cnn").state_dict()
    torch.save({"state_dict": state}, tmp_path / "mine.pt")
    torch.save(dict(list(state.items())[:-1]), tmp_path / "part.pt")
    records = [f">r{i} {('yes', 'no')[i % 2]}\n{dna(60)}{('GCGCGCGCGC', 'ATATATATAT')[i % 2]}\n" for i in range(60)]
    write("rows.fasta", "".join(records))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    flags = ("--domain", "genomics", "--data", "rows.fasta", "--labels-from", "header")
    part = tlplat("run", *flags, "--source", "part.pt", *QUICK, "--out", "no", **place)
    assert (part.code, part.error) == (4, "TL-MODEL-KEYS")
    assert not (tmp_path / "no").exists()
    done = tlplat("run", *flags, "--source", "mine.pt", *QUICK, "--out", "run", **place)
    assert done.code == 0, done.err
    assert {"linear_probe", "scratch"} <= {c["strategy"] for c in done.document["candidates"]}
