"""The cache: computed once, checked on every reading, and no reason for a run to end."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from cached import FEATURES, KEY, OTHER, Counted, entry, same

from tlplat import disk
from tlplat.cache import TensorCache, cache_root
from tlplat.errors import ModelError, ResourceError
from tlplat.storage import read_tensors, write_json, write_tensors


def test_the_root_is_the_users_choice_or_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("TLPLAT_CACHE_DIR", "~/x")
    assert cache_root() == Path.home() / "x"
    monkeypatch.setenv("TLPLAT_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache_root() == tmp_path / "tlplat"


def test_computed_once_then_read(tmp_path):
    compute = Counted()
    cold = TensorCache(tmp_path, pytest.fail).get_or_compute("features", KEY, compute)
    warm = TensorCache(tmp_path, pytest.fail).get_or_compute("features", KEY, compute)
    assert compute.runs == 1
    assert same(cold, FEATURES)
    assert same(warm, FEATURES)
    assert entry(tmp_path).exists()


def test_cold_and_warm_have_one_layout(tmp_path):
    """A sum over a transposed or misaligned tensor may round otherwise: both come row-major, in their own memory."""
    base = torch.arange(20.0)
    made = {"b": base[3:11].reshape(2, 4).t(), "a": base[1:7]}
    cache = TensorCache(tmp_path, pytest.fail)
    for tensors in (cache.get_or_compute("features", KEY, lambda: made), cache.get_or_compute("features", KEY, dict)):
        assert list(tensors) == ["a", "b"]
        assert all(t.is_contiguous() and t.storage_offset() == 0 and t.data_ptr() % 64 == 0 for t in tensors.values())
        tensors["a"].zero_()
    assert base[1] == 1


def test_keys_and_kinds_are_apart(tmp_path):
    cache = TensorCache(tmp_path, pytest.fail)
    for kind, key, value in (("features", KEY, 1.0), ("features", OTHER, 2.0), ("depths", KEY, 3.0)):
        cache.get_or_compute(kind, key, lambda value=value: {"x": torch.tensor(value)})
    assert cache.get_or_compute("features", OTHER, dict)["x"] == 2
    assert cache.get_or_compute("depths", KEY, dict)["x"] == 3


@pytest.mark.parametrize("key", ["../../etc/x", "", "a/b", "a.b", "-x"])
def test_a_key_is_a_word(key, tmp_path):
    with pytest.raises(ValueError, match="words"):
        TensorCache(tmp_path, pytest.fail).get_or_compute("features", key, Counted())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def wrong_shape(path):
    from safetensors.torch import save_file

    save_file({"z": torch.zeros(4, 4), "y": torch.zeros(4)}, path)


def of_another_key(path):
    cache = TensorCache(path.parents[2], pytest.fail)
    cache.get_or_compute("features", OTHER, lambda: {"z": torch.zeros(4, 3)})
    shutil.copy(entry(path.parents[2], OTHER), path)


POISONS = {
    "flipped bit": flip,
    "wrong shape": wrong_shape,
    "another model's": of_another_key,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n"),
}


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
def test_a_poisoned_entry_is_recomputed_and_said(poison, tmp_path):
    compute, warned = Counted(), []
    TensorCache(tmp_path, pytest.fail).get_or_compute("features", KEY, compute)
    good = entry(tmp_path).read_bytes()
    poison(entry(tmp_path))
    found = TensorCache(tmp_path, warned.append).get_or_compute("features", KEY, compute)
    assert same(found, FEATURES)
    assert compute.runs == 2
    assert len(warned) == 1
    assert "cache entry" in warned[0]
    assert "recomputed" in warned[0]
    assert entry(tmp_path).read_bytes() == good


def test_an_exception_of_the_computation_passes_and_leaves_nothing(tmp_path):
    def fail():
        raise ResourceError("TL-OOM", "no memory", fix="less")

    cache = TensorCache(tmp_path, pytest.fail)
    with pytest.raises(ResourceError, match="no memory"):
        cache.get_or_compute("features", KEY, fail)
    with pytest.raises(ResourceError, match="no memory"):
        cache.get_folder_or_build("sources", KEY, lambda folder: fail())
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".lock", ".lock"]
    assert same(cache.get_or_compute("features", KEY, Counted()), FEATURES)


def build(folder):
    write_tensors(folder / "model.safetensors", FEATURES)
    write_json(folder / "deep" / "source.json", {"a": 1})


@pytest.mark.parametrize("call", ["create", "write", "fsync", "replace", "make_folder", "sync_folder"])
def test_a_disk_that_fails_anywhere_disables_the_cache_once(call, tmp_path, monkeypatch):
    def fail(*args):
        if str(tmp_path) in str(args) or call in ("write", "fsync"):
            raise OSError(28, "No space left on device")
        return getattr(disk.Disk(), call)(*args[1:])

    monkeypatch.setattr(disk, "calls", type("Full", (disk.Disk,), {call: fail})())
    warned = []
    cache = TensorCache(tmp_path / "cache", warned.append)
    for _ in range(2):
        assert same(cache.get_or_compute("features", KEY, Counted()), FEATURES)
    assert len(warned) == 1
    assert "cache disabled" in warned[0]
    assert "No space left" in warned[0]
    assert not entry(tmp_path / "cache").exists() or call == "sync_folder"


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    warned, builds = [], []

    def noted(folder):
        builds.append(folder)
        build(folder)

    cache = TensorCache(tmp_path / "file", warned.append)
    assert same(cache.get_or_compute("features", KEY, Counted()), FEATURES)
    folder = cache.get_folder_or_build("sources", KEY, noted)
    assert cache.get_folder_or_build("sources", KEY, noted) == folder
    assert same(read_tensors(folder / "model.safetensors")[0], {k: FEATURES[k] for k in sorted(FEATURES)})
    assert len(builds) == len(warned) == 1
    assert "cache disabled" in warned[0]
    assert (tmp_path / "file").read_bytes() == b"mine"
    del cache
    assert not folder.exists()


SMALL = """
import sys
from pathlib import Path
import torch
from tlplat.cache import TensorCache
from tlplat.storage import write_tensors
root = Path(sys.argv[1])
cache = TensorCache(root, lambda sentence: print(sentence.partition(",")[0]))
large = {"x": torch.ones(1 << 20)}
assert torch.equal(cache.get_or_compute("features", "ab", lambda: dict(large))["x"], large["x"])
folder = cache.get_folder_or_build("sources", "cd", lambda f: write_tensors(f / "m", large))
assert (folder / "m").stat().st_size > 1 << 22
print([p.name for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"])
cache = TensorCache(root, lambda sentence: print(sentence.partition(",")[0]))
folder = cache.get_folder_or_build("sources", "cd", lambda f: write_tensors(f / "m", large))
print([p.name for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"])
"""


def test_a_cache_on_a_disk_of_one_megabyte(small_disk):
    assert small_disk(SMALL).splitlines() == ["cache disabled", "[]", "cache disabled", "[]"]


def test_a_folder_is_built_once_and_checked(tmp_path):
    built = []

    def noted(folder):
        built.append(folder)
        build(folder)

    cache = TensorCache(tmp_path, pytest.fail)
    folder = cache.get_folder_or_build("sources", KEY, noted)
    assert folder == tmp_path / "sources" / "a1" / KEY
    assert built[0] != folder
    assert not built[0].exists()
    assert TensorCache(tmp_path, pytest.fail).get_folder_or_build("sources", KEY, noted) == folder
    assert len(built) == 1


def test_a_folder_keeps_what_its_builder_wrote_in_the_manifest(tmp_path):
    from tlplat.storage import check_manifest, write_manifest

    def with_manifest(folder):
        build(folder)
        write_manifest(folder, {"kind": "source", "requires": ["x"]})

    folder = TensorCache(tmp_path, pytest.fail).get_folder_or_build("sources", KEY, with_manifest)
    document = check_manifest(folder)
    assert document["kind"] == "source"
    assert document["requires"] == ["x"]
    assert list(document["files"]) == ["deep/source.json", "model.safetensors"]


@pytest.mark.parametrize("file", ["model.safetensors", "deep/source.json", "manifest.json"])
@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["flipped bit", "missing"])
def test_a_damaged_folder_is_built_again(harm, file, tmp_path):
    folder = TensorCache(tmp_path, pytest.fail).get_folder_or_build("sources", KEY, build)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    harm(folder / file)
    (folder / "stray").write_bytes(b"")
    warned = []
    assert TensorCache(tmp_path, warned.append).get_folder_or_build("sources", KEY, build) == folder
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert len(warned) == 1
    assert "cache entry" in warned[0]
    assert "recomputed" in warned[0]


def test_a_builder_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        build(folder)
        raise ModelError("TL-MODEL-CORRUPT", "bad weights", fix="other weights")

    with pytest.raises(ModelError, match="bad weights"):
        TensorCache(tmp_path, pytest.fail).get_folder_or_build("sources", KEY, fail)
    assert [p.name for p in (tmp_path / "sources" / "a1").iterdir()] == [f"{KEY}.lock"]


def test_opening_a_cache_cleans_up_after_the_dead(tmp_path):
    left = tmp_path / "features" / "a1" / f".{KEY}.safetensors.0123abcd.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    TensorCache(tmp_path, pytest.fail)
    assert not left.exists()
