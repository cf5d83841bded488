import json
import math
import signal
import subprocess
import sys

import pytest
import torch

from tlplat.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tlplat.errors import ResourceError
from tlplat.manifest import read_manifest, write_manifest
from tlplat.storage import read_json, write_json


def at(step):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in slots.items()}
    tensors["rng.torch"] = torch.get_rng_state()
    return Checkpoint(step, tensors, {"best": math.inf, "none": None, "text": "é", "log": [1, 0.1, True]})


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_everything_round_trips(tmp_path):
    saved = at(123)
    save_checkpoint(tmp_path / "checkpoint", saved)
    assert names(tmp_path / "checkpoint") == ["step-00000123"]
    assert names(tmp_path / "checkpoint" / "step-00000123") == ["manifest.json", "state.json", "state.safetensors"]
    found = load_checkpoint(tmp_path / "checkpoint", pytest.fail)
    assert (found.step, found.state) == (123, saved.state)
    assert found.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    torch.set_rng_state(found.tensors["rng.torch"])


def test_nothing_saved_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "none", pytest.fail) is None
    (tmp_path / "other").mkdir()
    assert load_checkpoint(tmp_path, pytest.fail) is None


def test_the_newest_two_are_kept(tmp_path):
    for step in (9, 10, 99_999_999, 100_000_000):
        save_checkpoint(tmp_path, at(step))
    assert names(tmp_path) == ["step-100000000", "step-99999999"]
    assert load_checkpoint(tmp_path, pytest.fail).step == 100_000_000


def test_a_step_can_be_saved_again(tmp_path):
    save_checkpoint(tmp_path, at(1))
    for round_ in range(12):
        save_checkpoint(tmp_path, Checkpoint(2, {}, {"round": round_}))
    assert load_checkpoint(tmp_path, pytest.fail).state == {"round": 11}
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
def test_a_flipped_bit_in_the_newest_falls_back_and_says_so(file, tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, at(step))
    path = tmp_path / "step-00000020" / file
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 150)):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        warned = []
        assert load_checkpoint(tmp_path, warned.append).step == 10
        assert len(warned) == 1
        assert all(words in warned[0] for words in ("checksum", "previous checkpoint", "step-00000020", file))


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
def test_a_missing_or_cut_file_falls_back(file, tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, at(step))
    (tmp_path / "step-00000030" / file).unlink()
    path = tmp_path / "step-00000020" / file
    path.write_bytes(path.read_bytes()[:-9])
    warned = []
    assert load_checkpoint(tmp_path, warned.append) is None
    assert len(warned) == 2


def test_a_history_that_was_given_up_is_dropped(tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, at(step))
    (tmp_path / "step-00000020" / "state.json").write_text("{}", encoding="utf-8")
    assert load_checkpoint(tmp_path, lambda sentence: None).step == 10
    save_checkpoint(tmp_path, at(15))
    assert names(tmp_path) == ["step-00000010", "step-00000015"]
    assert load_checkpoint(tmp_path, pytest.fail).step == 15


def test_a_newer_format_is_refused_and_left_alone(tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, at(step))
    newest = tmp_path / "step-00000020"
    (newest / "state.safetensors").unlink()
    write_json(newest / "state.of.the.future", {})
    write_manifest(newest, {**read_manifest(newest), "checkpoint_format": 2})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ResourceError) as caught:
        load_checkpoint(tmp_path, pytest.fail)
    assert (caught.value.code, caught.value.exit_code) == ("TL-CKPT-VERSION", 6)
    assert all(words in str(caught.value) for words in ("format 2", "this version", str(newest)))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_newer_manifest_format_is_refused_too(tmp_path):
    from tlplat.manifest import _seal

    save_checkpoint(tmp_path, at(1))
    path = tmp_path / "step-00000001" / "manifest.json"
    document = read_json(path) | {"format": 2}
    path.write_text(json.dumps(document | {"sha256": _seal(document)}), encoding="utf-8")
    with pytest.raises(ResourceError, match="format"):
        load_checkpoint(tmp_path, pytest.fail)


def test_a_changed_format_number_under_an_old_seal_is_damage(tmp_path):
    """A flipped bit can make a 3 of a 1: only a sealed manifest is believed to come from a newer version."""
    save_checkpoint(tmp_path, at(1))
    path = tmp_path / "step-00000001" / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"checkpoint_format": 1', '"checkpoint_format": 3'), encoding="utf-8")
    warned = []
    assert load_checkpoint(tmp_path, warned.append) is None
    assert "checksum" in warned[0]


def test_leftovers_of_a_killed_writer_go_on_loading(tmp_path):
    save_checkpoint(tmp_path, at(1))
    (tmp_path / ".step-00000002.0123abcd.tmp").mkdir()
    (tmp_path / ".step-00000002.0123abcd.tmp" / "state.json").write_bytes(b"{")
    assert load_checkpoint(tmp_path, pytest.fail).step == 1
    assert names(tmp_path) == ["step-00000001"]


INTERRUPTED = """
import signal, sys
from pathlib import Path
import torch
from tlplat.checkpoint import Checkpoint, save_checkpoint
signal.signal(signal.SIGINT, signal.default_int_handler)
step = 0
try:
    while True:
        step += 1
        save_checkpoint(Path(sys.argv[1]), Checkpoint(step, {"x": torch.full((50_000,), float(step))}))
        print(step, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_during_a_save_keeps_the_previous(tmp_path):
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(tmp_path)], stdout=subprocess.PIPE) as child:
        for _ in range(3):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read().split()
    assert child.returncode == 130
    done = int(rest[-1]) if rest else 3
    found = load_checkpoint(tmp_path, pytest.fail)
    assert found.step in (done, done + 1)
    assert torch.equal(found.tensors["x"], torch.full((50_000,), float(found.step)))
