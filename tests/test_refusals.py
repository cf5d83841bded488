"""Errors that arise between modules: the domain's options, strategies that do not fit, numbers that are not finite."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from pydantic import Field

from tlplat.config import RunConfig
from tlplat.domain import DomainOptions
from tlplat.errors import ModelError, NonFiniteError, PluginError, UsageError
from tlplat.ops import fit_softmax_heads
from tlplat.progress import Reporter
from tlplat.stage import prepare
from tlplat.testing.workbench import toybench


def test_options_that_the_domain_refuses(registry):
    config = RunConfig(domain="toy", options={"shift": "far", "sise": "small"})
    with pytest.raises(UsageError) as caught:
        prepare(config, registry, Reporter(), dry=True)
    assert caught.value.code == "TL-CONFIG-OPTIONS"
    assert {f.where for f in caught.value.findings} == {"options.shift", "options.sise"}


def test_an_option_that_must_be_given(toy):
    from tlplat.resolve import resolve

    class Needy(toy.Toy):
        """Cannot guess."""

        class Options(DomainOptions):
            """One option without a default."""

            organism: str = Field(description="which")

    with pytest.raises(UsageError) as caught:
        resolve({"domain": "toy"}, domain=Needy)
    assert caught.value.code == "TL-CONFIG-MISSING"
    assert "options.organism" in caught.value.message


def test_no_strategy_that_fits(registry):
    config = RunConfig(domain="toy", source="headless", strategies=("zero_shot",))
    with pytest.raises(UsageError) as caught:
        prepare(config, registry, Reporter(), dry=True)
    assert caught.value.code == "TL-STRATEGY-NONE"
    assert [f.where for f in caught.value.findings] == ["zero_shot"]


def test_a_source_that_the_genomics_domain_does_not_have(registry, tmp_path):
    genomics = pytest.importorskip("tlplat_genomics.domain")
    from tlplat.domain import DomainContext

    with pytest.raises(ModelError) as caught:
        genomics.GenomicsDomain().source("tiarra", genomics.GenomicsOptions(), DomainContext(registry, tmp_path))
    assert caught.value.code == "TL-MODEL-UNKNOWN"
    assert "did you mean 'tiara'" in caught.value.message


def test_features_that_are_not_finite():
    z = torch.zeros(6, 2)
    z[4, 1] = float("nan")
    with pytest.raises(NonFiniteError) as caught:
        fit_softmax_heads(z, torch.tensor([0, 1] * 3), 2)
    assert (caught.value.code, caught.value.exit_code) == ("TL-NUM-NONFINITE", 7)
    assert caught.value.where == "row at position 4"


def test_a_strategy_whose_package_is_missing(registry, monkeypatch):
    """Skipped with a reason where it is planned; an error where a saved model needs it."""
    bench = toybench(registry)
    candidate = bench.candidate("lora")
    _, plan = candidate.declare(bench.bench, _rows(bench))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else find(name, *a))
    assert "tlplat[lora]" in candidate.strategy.unfit(bench.target.task.info(), _info(bench))
    with pytest.raises(PluginError) as caught:
        registry.get("edits", "peft").build(None, plan.edits[0].args)
    assert caught.value.code == "TL-PLUGIN-EXTRA"


def _rows(bench):
    from tlplat.trial import Rows

    return Rows.all(bench.labelled)


def _info(bench):
    from tlplat.model import BackboneInfo

    return BackboneInfo.of(bench.source.build(bench.bench.registry))


def test_a_native_library_that_must_be_there(monkeypatch, tmp_path):
    """TLPLAT_FORCE_EXT=1 turns the silent way round, plain torch, into an error: no compiler, or another torch's."""
    from tlplat.ops import compile as compiling
    from tlplat.ops import extension

    package = tmp_path / "tlplat"
    package.mkdir()
    monkeypatch.setattr(extension, "_PACKAGE", package)
    monkeypatch.setattr(extension, "_CSRC", ())
    monkeypatch.setenv("TLPLAT_FORCE_EXT", "1")
    with pytest.raises(PluginError) as caught:
        extension._load.__wrapped__()
    assert (caught.value.code, caught.value.exit_code) == ("TL-EXT-BUILD", 5)

    (package / compiling.LIBRARY).write_bytes(b"")
    (package / compiling.INFO).write_text('{"target": "99.0", "torch": "99.1"}', encoding="utf-8")
    with pytest.raises(PluginError) as caught:
        extension._load.__wrapped__()
    assert caught.value.code == "TL-EXT-ABI"
    assert "99.1" in caught.value.message
