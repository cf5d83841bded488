import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tlplat import disk
from tlplat.cache import TensorCache, cache_root
from tlplat.errors import ModelError, ResourceError
from tlplat.storage import read_tensors, write_json, write_tensors

KEY, OTHER = "a1" * 32, "a1" + "b2" * 31
FEATURES = {"z": torch.arange(12.0).reshape(4, 3), "y": torch.arange(6.0)[2:].to(torch.bfloat16)}


class Counted:
    """A computation that notes how often it ran."""

    def __init__(self, tensors=FEATURES):
        self.tensors, self.runs = tensors, 0

    def __call__(self):
        self.runs += 1
        return dict(self.tensors)


def entry(root, key=KEY):
    return root / "features" / key[:2] / f"{key}.safetensors"


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def digest(tensors):
    return hashlib.sha256(b"".join(t.view(torch.uint8).numpy().tobytes() for t in tensors.values())).hexdigest()


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


def reader(root, keys, barrier, results):
    torch.set_num_threads(1)
    cache = TensorCache(root, lambda sentence: results.put(("warning", sentence)))
    found = []
    for number, key in enumerate(keys):

        def compute(key=key, number=number):
            with open(root / f"{key}.computed", "ab") as file:
                file.write(b"x")
            return {"x": torch.full((1000,), float(number)), "i": torch.arange(number)}

        if number % 10 == 0:
            barrier.wait(30)
        found.append(digest(cache.get_or_compute("features", key, compute)))
    results.put(("digests", found))


@pytest.mark.slow
def test_eight_processes_fill_each_key_once(tmp_path):
    """8 processes x 125 keys: 1000 reads, none torn."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "tlplat.cache"])
    keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(125)]
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=reader, args=(tmp_path, keys, barrier, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=200) for _ in workers]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert {kind for kind, _ in answers} == {"digests"}
    assert all(found == answers[0][1] for _, found in answers)
    assert len(set(answers[0][1])) == 125
    assert {(tmp_path / f"{key}.computed").read_bytes() for key in keys} == {b"x"}


@pytest.mark.slow
def test_a_reader_beside_a_writer_never_sees_a_torn_file(tmp_path):
    stop = tmp_path / "stop"
    code = (
        "import sys, torch; from pathlib import Path; from tlplat.storage import write_tensors\n"
        "n = 0\n"
        "while not Path(sys.argv[2]).exists():\n"
        "    n += 1; write_tensors(sys.argv[1], {'x': torch.full((20_000,), float(n))})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "t"), str(stop)]) as writer:
        while not (tmp_path / "t").exists():
            assert writer.poll() is None
        values = set()
        for _ in range(1000):
            x = read_tensors(tmp_path / "t", require_checksum=True)[0]["x"]
            assert bool((x == x[0]).all())
            values.add(float(x[0]))
        stop.touch()
    assert writer.returncode == 0
    assert len(values) > 10


HOLDER = """
import sys, time, torch
from pathlib import Path
from tlplat.cache import TensorCache

def compute():
    print("computing", flush=True)
    time.sleep(60)

TensorCache(Path(sys.argv[1]), print).get_or_compute("features", sys.argv[2], compute)
"""


def test_a_killed_holder_frees_its_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), KEY], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"computing\n"
        told = []

        def notice(sentence):
            told.append(sentence)
            os.kill(holder.pid, signal.SIGKILL)

        cache = TensorCache(tmp_path, pytest.fail, notice)
        assert same(cache.get_or_compute("features", KEY, Counted()), FEATURES)
    assert len(told) == 1
    assert "waiting" in told[0]
