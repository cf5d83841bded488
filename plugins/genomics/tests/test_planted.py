"""A source that learnt the opposite: its own head must not win, whatever its features are worth."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tlplat.cache import cache_root
from tlplat.config import RunConfig, to_toml
from tlplat.progress import Reporter
from tlplat.rundir import environment
from tlplat.runner import carry_out
from tlplat.stage import load_registry, prepare
from tlplat.storage import write_json, write_text

REAL_CACHE = cache_root()


@pytest.mark.network
@pytest.mark.slow
def test_flipped_labels_do_not_win_with_the_sources_own_head(tmp_path, monkeypatch):
    """E. coli's network with its two outputs exchanged, which is what training on flipped labels ends in."""
    monkeypatch.setenv("TLPLAT_CACHE_DIR", os.environ.get("TLPLAT_CACHE_DIR", str(REAL_CACHE)))
    out = tmp_path / "run"
    config = RunConfig.model_validate(
        {
            "domain": "genomics",
            "strategies": ("linear_probe", "full_ft"),
            "seeds": 2,
            "threads": 1,
            "jobs": 1,
            "out": Path(out),
            "train": {"learning_rate": 1e-3},
        }
    )
    registry = load_registry(config)
    honest = prepare(config, registry, Reporter()).source
    assert honest.head is not None
    flipped = dataclasses.replace(honest, name="flipped", head={k: v.flip(0) for k, v in honest.head.items()})
    stage = prepare(config, registry, Reporter(), source=flipped)
    write_text(out / "config.toml", to_toml(config))
    write_json(out / "env.json", {**environment("cpu"), "config_origins": {}})
    report = carry_out(out, stage, Reporter()).report
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert scores["zero_shot"] < 0.1
    assert report["verdict"]["winner"] == "linear_probe"  # full_ft starts from that head; the probe's is fresh
