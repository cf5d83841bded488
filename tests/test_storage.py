import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlplat import disk
from tlplat.errors import ModelError, ResourceError
from tlplat.storage import (
    check_manifest,
    clean_temporaries,
    lock,
    read_json,
    read_tensors,
    sha256_file,
    write_bytes,
    write_json,
    write_manifest,
    write_tensors,
    write_text,
)

TENSORS = {
    "half": torch.arange(7).to(torch.bfloat16),
    "state": torch.Generator().manual_seed(1).get_state(),
    "empty": torch.empty(0, 4),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "mask": torch.tensor([True, False]),
    "transposed": torch.arange(12.0).reshape(3, 4).t(),
    "strided": torch.arange(10)[1::3],
    "expanded": torch.ones(1, 3).expand(4, 3),
    "é/ü": torch.zeros(2, requires_grad=True),
}


def test_tensors_of_every_layout_round_trip(tmp_path):
    shared = torch.arange(6.0)
    tensors = {**TENSORS, "a": shared, "b": shared, "c": shared[2:]}
    write_tensors(tmp_path / "t.safetensors", tensors, {"note": "ünïcode", "a": "1"})
    found, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"note": "ünïcode", "a": "1"}
    assert list(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())
        assert found[name].is_contiguous()
    found["a"][0] = 9
    assert found["b"][0] == 0
    assert all(t.data_ptr() % 64 == 0 for t in found.values() if t.numel())


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "int64",
        "int16",
        "int8",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ],
)
def test_every_dtype_is_read_by_the_library_too(dtype, tmp_path):
    from safetensors.torch import load_file, save_file

    tensor = torch.arange(6).to(getattr(torch, dtype)).reshape(2, 3)
    write_tensors(tmp_path / "t", {"x": tensor})
    assert load_file(tmp_path / "t")["x"].dtype == tensor.dtype
    assert torch.equal(load_file(tmp_path / "t")["x"].view(torch.uint8), tensor.view(torch.uint8))
    save_file({"x": tensor}, tmp_path / "theirs")
    assert torch.equal(read_tensors(tmp_path / "theirs")[0]["x"].view(torch.uint8), tensor.view(torch.uint8))
    with pytest.raises(ModelError, match="no checksum"):
        read_tensors(tmp_path / "theirs", require_checksum=True)


def test_equal_tensors_give_equal_bytes(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, {"x": "1", "y": "2"})
    write_tensors(tmp_path / "b", dict(reversed(TENSORS.items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_safetensors_cannot_hold_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="'z'"):
        write_tensors(tmp_path / "t", {"z": torch.ones(2, dtype=torch.complex128)})
    with pytest.raises(TypeError, match="'s'"):
        write_tensors(tmp_path / "t", {"s": torch.eye(2).to_sparse()})
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.uint8)}, {"key": "abc"})
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in {place % 8, 5}:  # bit 5 turns a letter into the same letter in the other case
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(ModelError):
                read_tensors(path, require_checksum=True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "TL-MODEL-CORRUPT"),
        ((2**60).to_bytes(8, "little") + b"{}", "TL-MODEL-CORRUPT"),
        ((2).to_bytes(8, "little") + b"[]", "TL-MODEL-CORRUPT"),
        (b"PK\x03\x04" + b"\0" * 40, "TL-MODEL-CORRUPT"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(content, code, tmp_path):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_tensors(tmp_path / "t")
    assert caught.value.code == code
    assert str(tmp_path / "t") in str(caught.value)


def test_an_unknown_dtype_has_a_code_of_its_own(tmp_path):
    header = b'{"x":{"dtype":"NOT","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "t").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ModelError) as caught:
        read_tensors(tmp_path / "t")
    assert caught.value.code == "TL-MODEL-DTYPE"


def test_a_missing_file_is_a_resource_error(tmp_path):
    for read in (read_tensors, read_json):
        with pytest.raises(ResourceError) as caught:
            read(tmp_path / "nothing")
        assert caught.value.code == "TL-IO-READ"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_json_round_trips(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("json") / "d.json"
    write_json(path, document)
    assert read_json(path) == document


def test_json_takes_numpy_paths_and_odd_file_names(tmp_path):
    name = os.fsdecode(b"d\xff")
    write_json(tmp_path / "d.json", {"n": np.float32(0.5), "a": np.arange(2), "p": tmp_path, "name": name})
    assert read_json(tmp_path / "d.json") == {"n": 0.5, "a": [0, 1], "p": str(tmp_path), "name": name}
    (tmp_path / "d.json").read_text(encoding="utf-8")
    write_text(tmp_path / name / "t.txt", f"read {name}")
    assert (tmp_path / name / "t.txt").read_bytes() == b"read d\\udcff"


@pytest.mark.parametrize("document", [float("nan"), {"x": [float("inf")]}, {"x": object()}])
def test_json_refuses_what_it_does_not_have(document, tmp_path):
    write_json(tmp_path / "d.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "d.json", document)
    assert read_json(tmp_path / "d.json") == 1


@pytest.mark.parametrize("content", [b"", b'{"a": 1,\n "b" 2}', b"\xff\xfe", b"[" * 100_000])
def test_broken_json_names_the_place(content, tmp_path):
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_json(tmp_path / "d.json")
    assert caught.value.code == "TL-MODEL-CORRUPT"
    assert str(tmp_path / "d.json") in caught.value.where
    if b"b" in content:
        assert "line 2 column 6" in caught.value.where


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "TL-IO-ENOSPC"), (errno.EROFS, "TL-IO-WRITE")])
@pytest.mark.parametrize("call", ["create", "write", "fsync", "replace"])
def test_a_failing_disk_keeps_the_old_file(call, number, code, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    write_tensors(tmp_path / "t", {"x": torch.ones(2)})
    before = (tmp_path / "t").read_bytes()
    monkeypatch.setattr(disk, "calls", type("Full", (disk.Disk,), {call: fail})())
    with pytest.raises(ResourceError) as caught:
        write_tensors(tmp_path / "t", {"x": torch.zeros(2)})
    assert caught.value.code == code
    assert caught.value.exit_code == 6
    assert ("No space left" in str(caught.value)) == (number == errno.ENOSPC)
    assert str(tmp_path / "t") in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t").read_bytes() == before


SMALL_DISK = """
import sys
from pathlib import Path
from tlplat.errors import TlplatError
from tlplat.storage import write_bytes
path = Path(sys.argv[1], "a")
write_bytes(path, b"old")
try:
    write_bytes(path, bytes(3 << 20))
except TlplatError as error:
    print(error.code, error.exit_code, [p.read_bytes() for p in path.parent.iterdir()])
"""


def test_a_full_disk_for_real(small_disk):
    assert small_disk(SMALL_DISK) == "TL-IO-ENOSPC 6 [b'old']\n"


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError) as caught:
        write_text(tmp_path / "file" / "x" / "y.txt", "")
    assert caught.value.code == "TL-IO-WRITE"
    assert "not a folder" in str(caught.value)


def test_an_interrupt_leaves_the_old_file(tmp_path):
    def chunks():
        yield b"new"
        raise KeyboardInterrupt

    write_bytes(tmp_path / "f", b"old")
    with pytest.raises(KeyboardInterrupt):
        disk.write_chunks(tmp_path / "f", chunks())
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


@given(st.lists(st.integers(0, 3 << 19) | st.integers(0, 50), max_size=12))
def test_joined_chunks_are_the_same_bytes(sizes):
    chunks = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    blocks = list(disk._blocks(chunks))
    assert b"".join(blocks) == b"".join(chunks)
    assert all(len(b) for b in blocks)


def test_files_get_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        write_bytes(tmp_path / "f", b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_a_file_name_of_full_length(tmp_path):
    write_bytes(tmp_path / ("n" * 250), b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["n" * 250]


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "m" / "structure.json", {"a": 1})
    write_tensors(tmp_path / "m" / "sub" / "w.safetensors", {"x": torch.ones(3)})
    write_manifest(tmp_path / "m", {"kind": "source", 3: (1, 2), "format": 99, "sha256": "x"})
    return tmp_path / "m"


def test_a_manifest_lists_and_checks_every_file(folder):
    document = check_manifest(folder)
    assert document["kind"] == "source"
    assert document["3"] == [1, 2]
    assert document["format"] == 1
    assert list(document["files"]) == ["structure.json", "sub/w.safetensors"]
    facts = document["files"]["structure.json"]
    assert facts["sha256"] == sha256_file(folder / "structure.json")
    assert facts["bytes"] == (folder / "structure.json").stat().st_size
    (folder / "README.md").write_text("mine", encoding="utf-8")
    check_manifest(folder)


def test_a_flipped_bit_in_a_folder_names_the_file(folder):
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        for place in range(0, len(content), 3):
            changed = bytearray(content)
            changed[place] ^= 1 << (place % 8)
            path.write_bytes(changed)
            with pytest.raises(ModelError) as caught:
                check_manifest(folder)
            assert caught.value.code == "TL-MODEL-CORRUPT"
            assert path.name in str(caught.value)
        path.write_bytes(content)
    check_manifest(folder)


@pytest.mark.parametrize("name", ["manifest.json", "structure.json"])
def test_a_missing_file_of_a_folder_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name) as caught:
        check_manifest(folder)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("change", [{"format": 2}, {"files": {"../out": {"sha256": "0" * 64, "bytes": 0}}}])
def test_a_newer_or_hostile_manifest_is_refused(change, folder):
    from tlplat.manifest import _seal

    document = read_json(folder / "manifest.json") | change
    document["sha256"] = _seal(document)
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    (folder.parent / "out").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        check_manifest(folder)
    assert caught.value.code == ("TL-MODEL-VERSION" if "format" in change else "TL-MODEL-CORRUPT")


def test_clean_up_takes_what_the_dead_left_and_leaves_the_living(tmp_path):
    dead = [tmp_path / ".a.json.0123abcd.tmp", tmp_path / "deep" / ".b.00000000.tmp"]
    for path in dead:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (tmp_path / ".c.11111111.tmp" / "inner").mkdir(parents=True)
    (tmp_path / ".c.11111111.tmp" / "inner" / "file").write_bytes(b"x")
    mine = [tmp_path / "notes.tmp", tmp_path / ".hidden"]
    for path in mine:
        path.write_bytes(b"")
    outside = tmp_path / ".d.22222222.tmp"
    outside.symlink_to(tmp_path / "deep")

    def chunks():
        yield b"new"
        assert set(clean_temporaries(tmp_path)) == {*dead, tmp_path / ".c.11111111.tmp"}
        yield b" content"

    with disk.temporary_folder(tmp_path / "being-built") as work:
        disk.write_chunks(tmp_path / "f", chunks())
        assert work.is_dir()
    assert (tmp_path / "f").read_bytes() == b"new content"
    assert all(p.exists() for p in mine)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["f", "deep", "notes.tmp", ".hidden", outside.name])
    assert clean_temporaries(tmp_path / "nowhere") == []


HOLDER = """
import sys, time
from tlplat.storage import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_waits_says_so_and_dies_with_its_holder(tmp_path):
    path = tmp_path / "locks" / "x.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        told = []

        def waiting(sentence):
            told.append(sentence)
            os.kill(holder.pid, signal.SIGKILL)

        start = time.monotonic()
        with lock(path, waiting):
            assert time.monotonic() - start < 10
    assert len(told) == 1
    assert str(path) in told[0]
    with lock(path, told.append):
        pass
    assert len(told) == 1


def test_importing_storage_imports_no_torch():
    code = (
        "import sys, tlplat.storage, tlplat.cache, tlplat.checkpoint, tlplat.assets; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
