"""What lies in a folder of an encoder, or does not: through the command line, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from commandline import tlplat

QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--out", "run")


@pytest.fixture
def run(reviews, tmp_path):
    """``run(source)`` in a folder with 40 reviews; a refusal must leave no run behind."""
    rows = [json.dumps({"text": text, "label": label}) for text, label in reviews(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")

    def start(source: Path, code: str, *words: str) -> None:
        done = tlplat(
            *("run", "--domain", "nlp", "--data", "a.jsonl", "--source", str(source), *QUICK),
            cwd=tmp_path,
            cache=tmp_path / "cache",
        )
        assert (done.code, done.error) == (4, code), done.err
        assert [word for word in words if word not in done.err] == [], done.err
        assert not (tmp_path / "run").exists()

    return start


@pytest.fixture
def copied(encoder_folder, tmp_path) -> Path:
    return Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))


def test_no_tokeniser(run, copied):
    """mdl-hf-tokenizer-missing."""
    (copied / "tokenizer.json").unlink()
    run(copied, "TL-MODEL-INCOMPLETE", "tokenizer")


@pytest.mark.parametrize("part", ["../../etc/passwd", "/etc/passwd"])
def test_an_index_that_names_files_outside(part, run, copied):
    """mdl-shard-traversal."""
    (copied / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": part}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    run(copied, "TL-MODEL-PATH", "outside", part)


def test_weights_alone(run, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "m.pt")
    run(tmp_path / "m.pt", "TL-MODEL-INCOMPLETE", "config.json", "tokenizer.json")
