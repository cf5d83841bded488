"""What a linear head reads after each block: of the source, the adapted model and the untrained network."""

import dataclasses
import math

import torch

from tlplat.depths import probes
from tlplat.testing.workbench import toybench


def depths(registry, name, **settings):
    bench = toybench(registry, steps=200)
    model = bench.run(name, **settings).model
    return probes(bench.source, model.backbone, bench.target.task, bench.target.test, registry)


def test_the_untouched_source_has_not_moved_and_tells_all(registry):
    found = depths(registry, "zero_shot")
    assert [b["name"] for b in found["blocks"]] == ["dense0", "dense1", "dense2"]
    assert all(b["moved"] == 0.0 and b["source"] == b["adapted"] for b in found["blocks"])
    assert found["kept"] == 1.0
    assert found["guess"] == 0.5
    assert found["rows"] == 400


def test_training_shows_in_what_blocks_tell(registry):
    """Pretraining made the last block say what random weights do not; fine-tuning moves it and says no less."""
    found = depths(registry, "full_ft")
    last = found["blocks"][-1]
    assert last["source"] > last["untrained"] + 0.05
    assert last["adapted"] > last["source"] - 0.05
    assert all(0 < b["moved"] < 1 for b in found["blocks"])
    assert 0.5 < found["kept"] < 1.3


def test_other_structures_say_which_block_is_another(registry):
    wider = depths(registry, "net2wider")
    assert any(b["moved"] is None for b in wider["blocks"])
    assert all(math.isfinite(b["adapted"]) for b in wider["blocks"])
    shorter = depths(registry, "truncate")
    assert len(shorter["blocks"]) < 3
    tapped = depths(registry, "head2toe")
    assert len(tapped["blocks"]) == 3


def test_rows_of_one_moment_cannot_be_parted(registry):
    bench = toybench(registry)
    rows = dataclasses.replace(bench.target.test, spans=torch.tensor([[0, 9]] * len(bench.target.test)))
    assert probes(bench.source, bench.source.build(registry), bench.target.task, rows, registry) is None


def test_a_class_of_one_row_cannot_be_parted(registry):
    bench = toybench(registry)
    test = bench.target.test
    few = test.select(torch.cat([(test.targets == 0).nonzero()[:, 0][:9], (test.targets == 1).nonzero()[:, 0][:1]]))
    assert probes(bench.source, bench.source.build(registry), bench.target.task, few, registry) is None
