"""Weights files as users have them: what is read, and what is refused without being run."""

from __future__ import annotations

import os
import zipfile

import pytest
import torch
from torch import nn

from tlplat.errors import ModelError, ResourceError
from tlplat.storage import write_tensors
from tlplat.weights import read_weights


def refused(path, code, *words):
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    said = caught.value.render()
    assert caught.value.code == code, said
    assert [word for word in words if word not in said] == [], said
    assert "weights_only=False" not in said


@pytest.fixture
def state():
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 0.1}},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {k: v + 1 for k, v in s.items()}, "state_dict_ema": s},
    ],
    ids=["plain", "training", "parallel", "averaged"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_are_read(wrap, legacy, state, tmp_path):
    torch.save(wrap(state), tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    found = read_weights(tmp_path / "m.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_safetensors_are_told_by_content(state, tmp_path):
    write_tensors(tmp_path / "m.bin", state)
    assert torch.equal(read_weights(tmp_path / "m.bin")["a.weight"], state["a.weight"])


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['EVIL']}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_named_and_not_run(legacy, tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL", str(tmp_path / "PWNED"))
    torch.save({"x": Evil()}, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    refused(tmp_path / "m.pt", "TL-MODEL-UNSAFE", "m.pt", "posix.system", "refused", "convert", "safetensors")
    assert not (tmp_path / "PWNED").exists()


def test_whole_modules_and_other_pickles(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "TL-MODEL-UNSAFE", "torch.nn.modules.linear.Linear", "state_dict")
    (tmp_path / "m.joblib").write_bytes(b"\x80\x04\x95\x0b\0\0\0\0\0\0\0]\x94(K\x01K\x02e.")
    refused(tmp_path / "m.joblib", "TL-MODEL-UNSAFE", "pickle", "not supported")
    (tmp_path / "m.dill").write_bytes(b"\x80\x02]q\x00(K\x01K\x02e.")
    refused(tmp_path / "m.dill", "TL-MODEL-UNSAFE", "pickle", "not supported")


def test_torchscript_is_code(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"x")
        archive.writestr("m/code/__torch__.py", b"class M: pass")
        archive.writestr("m/constants.pkl", b"x")
    refused(tmp_path / "m.pt", "TL-MODEL-UNSAFE", "TorchScript", "executable")


def test_broken_files(state, tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(b"")
    refused(path, "TL-MODEL-CORRUPT", "m.pt", "0 bytes")
    torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "TL-MODEL-CORRUPT", "m.pt", "truncated")
    path.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(ModelError):
        read_weights(path)
    torch.save([1, 2], path)
    refused(path, "TL-MODEL-FORMAT", "list", "state_dict")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\0" * 5_000_000)
    refused(path, "TL-MODEL-TOO-BIG", "ratio")
    with pytest.raises(ResourceError, match="TL-IO-READ"):
        read_weights(tmp_path / "none.pt")
