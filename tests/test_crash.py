"""SIGKILL at every enumerated call of every writer: a reader then sees the old state or the new one, bit for bit.

A forked child runs the writer with a :class:`Disk` that kills it at call number ``at``, for a write also after half
of its bytes. :class:`InPlace` is the mutant: the same writers without the temporary names. It must fail.
"""

import os
import shutil
import signal
import warnings

import pytest
import torch

from tlplat import disk
from tlplat.cache import TensorCache
from tlplat.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tlplat.plan import Phase
from tlplat.storage import clean_temporaries, write_json, write_tensors, write_text
from tlplat.tasks.classification import Classification

CALLS = ("create", "write", "fsync", "replace", "sync_folder", "make_folder", "remove", "remove_folder")


class InPlace(disk.Disk):
    """A temporary name is a link to its target, so all is written in place: what a careless writer does."""

    def create(self, path):
        target = _target(path)
        path.symlink_to(target.name)
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def make_folder(self, path):
        if not disk.is_temporary(path.name):
            return super().make_folder(path)
        _target(path).mkdir(exist_ok=True)
        path.symlink_to(_target(path).name)

    def replace(self, old, new):
        if old.is_symlink():
            old.unlink()
        else:
            super().replace(old, new)


def _target(temporary):
    return temporary.with_name(temporary.name[1:].rsplit(".", 2)[0])


def killing(base, at=None, half=False, trace=None):
    """A Disk of class ``base`` that notes each call in ``trace`` and dies at number ``at``."""
    trace = [] if trace is None else trace

    def step(name):
        def method(self, *args):
            trace.append((name, *args))
            if len(trace) - 1 == at:
                if half and name == "write":
                    data = memoryview(args[1])
                    base.write(self, args[0], data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return getattr(base, name)(self, *args)

        return method

    return type("Killing", (base,), {name: step(name) for name in CALLS})()


def forked(work, calls):
    """Run ``work(note)`` in a child with ``calls`` as the disk; (killed, what was noted)."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside torch's threads, which sleep
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            torch.set_num_threads(1)
            disk.calls = calls
            work(lambda text: os.write(writing, text.encode()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        noted = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.waitstatus_to_exitcode(status) == 0, f"the writer failed: {status}"
    return killed, noted


def every_kill(tmp_path, prepare, work, base=disk.Disk):
    """Yield (folder, call, noted) after a kill at each call of ``work(folder, note)``, and after none of them."""
    trace = []
    prepare(tmp_path / "count")
    previous, disk.calls = disk.calls, killing(base, trace=trace)
    try:
        work(tmp_path / "count", lambda text: None)
    finally:
        disk.calls = previous
    assert {"write", "fsync", "replace"} <= {name for name, *_ in trace}
    prepare(tmp_path / "start")
    for at in range(len(trace) + 1):
        for half in (False, True) if at < len(trace) and trace[at][0] == "write" else (False,):
            folder = tmp_path / f"kill-{at}-{half}"
            if (tmp_path / "start").exists():
                shutil.copytree(tmp_path / "start", folder)
            killed, noted = forked(lambda note, f=folder: work(f, note), killing(base, at, half))
            assert killed == (at < len(trace))
            yield folder, f"call {at} {trace[at][0] if at < len(trace) else 'none'}{' half' * half}", noted
            shutil.rmtree(folder, ignore_errors=True)


def tree(folder):
    """Content by relative path; locks and what is unfinished are no state."""
    return {
        path.as_posix(): (folder / path).read_bytes()
        for path in (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
        if path.suffix != ".lock" and not any(disk.is_temporary(part) for part in path.parts)
    }


def temporaries(folder):
    return [p for p in folder.rglob("*") if disk.is_temporary(p.name)]


def checkpoint_at(step):
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "model.weight": torch.randn(40, 30, generator=generator),
        "optimizer.0.step": torch.tensor(float(step)),
        "rng": generator.get_state(),
    }
    return Checkpoint(step, tensors, {"curve": [{"step": step, "loss": 1 / (step + 1)}]})


def same_checkpoint(a, b):
    return (
        a.state == b.state
        and a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
    )


def write_checkpoints(folder, note):
    for step in (10, 20, 20, 30):
        save_checkpoint(folder, checkpoint_at(step))
        note(f"{step} ")


def checkpoint_survives(tmp_path, base=disk.Disk):
    for folder, call, noted in every_kill(tmp_path, lambda folder: None, write_checkpoints, base):
        warned = []
        found = load_checkpoint(folder, warned.append)
        done = int(noted.split()[-1]) if noted else 0
        assert warned == [], f"torn at {call}: {warned}"
        step = found.step if found else 0
        assert step in (done, min(done + 10, 30)), f"lost at {call}: step {step}, saved were {noted}"
        assert found is None or same_checkpoint(found, checkpoint_at(step)), f"torn at {call}"
        assert base is InPlace or temporaries(folder) == [], f"left over at {call}"


def test_checkpoint_writer(tmp_path):
    checkpoint_survives(tmp_path)


def test_checkpoint_mutant_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="torn at"):
        checkpoint_survives(tmp_path, InPlace)


def report_survives(tmp_path, base=disk.Disk):
    old, new = [{"step": n, "values": list(range(n, n + 400))} for n in (1, 2)]

    def write(folder, document):
        write_json(folder / "report" / "report.json", document)
        write_text(folder / "report" / "report.html", f"<p>{document}</p>")

    write(tmp_path / "old", old)
    write(tmp_path / "new", new)
    before, after = tree(tmp_path / "old"), tree(tmp_path / "new")
    states = [before, {**before, "report/report.json": after["report/report.json"]}, after]
    prepared = every_kill(
        tmp_path,
        lambda folder: shutil.copytree(tmp_path / "old", folder),
        lambda folder, note: write(folder, new),
        base,
    )
    for folder, call, _ in prepared:
        assert tree(folder) in states, f"torn at {call}"
        clean_temporaries(folder)
        assert base is InPlace or temporaries(folder) == [], f"left over at {call}"


def test_report_writer(tmp_path):
    report_survives(tmp_path)


def test_report_mutant_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="torn at"):
        report_survives(tmp_path, InPlace)


KEY = "ab" * 32
FEATURES = {"z": torch.arange(3000.0).reshape(60, 50), "y": torch.ones(60, dtype=torch.bool)}


def cache_survives(tmp_path, base=disk.Disk, damaged=False):
    def prepare(folder):
        if damaged:
            write_tensors(folder / "features" / "ab" / f"{KEY}.safetensors", {"z": torch.zeros(2)})

    def work(folder, note):
        TensorCache(folder, lambda sentence: None).get_or_compute("features", KEY, lambda: FEATURES)

    prepare(tmp_path / "old")
    work(tmp_path / "new", None)
    before = tree(tmp_path / "old") if damaged else {}
    after = tree(tmp_path / "new")
    for folder, call, _ in every_kill(tmp_path, prepare, work, base):
        warned = []
        cache = TensorCache(folder, warned.append)
        state = tree(folder) if folder.exists() else {}
        assert state in (before, after), f"torn at {call}"
        assert base is InPlace or temporaries(folder) == [], f"left over at {call}"
        found = cache.get_or_compute("features", KEY, lambda: FEATURES)
        assert all(torch.equal(found[k], FEATURES[k]) for k in FEATURES)
        assert bool(warned) == (damaged and state == before), f"torn at {call}: {warned}"
        assert tree(folder) == after


@pytest.mark.parametrize("damaged", [False, True])
def test_cache_writer(tmp_path, damaged):
    cache_survives(tmp_path, damaged=damaged)


def test_cache_mutant_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="torn at"):
        cache_survives(tmp_path, InPlace)


def build_source(folder):
    write_tensors(folder / "model.safetensors", FEATURES)
    (folder / "notes").mkdir()
    (folder / "notes" / "plain.txt").write_text("written without the storage module", encoding="utf-8")


def folder_survives(tmp_path, base=disk.Disk, damaged=False):
    place = f"sources/ab/{KEY}"

    def prepare(folder):
        if damaged:
            work(folder, None)
            (folder / place / "model.safetensors").write_bytes(b"damaged")

    def work(folder, note):
        TensorCache(folder, lambda sentence: None).get_folder_or_build("sources", KEY, build_source)

    prepare(tmp_path / "old")
    work(tmp_path / "new", None)
    before, after = tree(tmp_path / "old") if damaged else {}, tree(tmp_path / "new")
    for folder, call, _ in every_kill(tmp_path, prepare, work, base):
        warned = []
        cache = TensorCache(folder, warned.append)
        state = tree(folder) if folder.exists() else {}
        assert state in ({}, before, after), f"torn at {call}"
        assert base is InPlace or temporaries(folder) == [], f"left over at {call}"
        assert cache.get_folder_or_build("sources", KEY, build_source) == folder / place
        assert tree(folder) == after
        assert bool(warned) == (damaged and state == before), f"torn at {call}: {warned}"


@pytest.mark.parametrize("damaged", [False, True])
def test_folder_builder(tmp_path, damaged):
    folder_survives(tmp_path, damaged=damaged)


def test_folder_mutant_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="torn at"):
        folder_survives(tmp_path, InPlace)


@pytest.mark.slow
def test_a_fit_killed_at_any_call_resumes_bitwise(toy, registry, tmp_path):
    """The real loop: interrupted anywhere in its checkpoints, it ends with the same weights and the same log."""
    from tlplat.model import TransferModel
    from tlplat.train import FitSettings, fit

    task, rows = Classification(["in", "out"]), toy.rows(32, 1)
    phase = Phase(trainable=("*",), learning_rate=3e-3)

    def train(folder, note):
        torch.manual_seed(0)
        model = TransferModel(toy.ToyNet(), task.head(16))
        settings = FitSettings(checkpoint_seconds=None, checkpoint_steps=2, batch_size=8)
        more = {"validation": rows, "keep_best": True, "checkpoint": folder}
        result = fit(model, [phase], rows, task, steps=5, seed=3, settings=settings, registry=registry, **more)
        return model.state_dict(), result.curve

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        weights, curve = train(tmp_path / "whole", None)
        for folder, call, _ in every_kill(tmp_path, lambda folder: None, train):
            resumed, log = train(folder, None)
            assert all(torch.equal(weights[k], resumed[k]) for k in weights), call
            assert log == curve, call
            assert temporaries(folder) == [], call
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: write_checkpoints(folder, lambda text: None),
        lambda folder: TensorCache(folder, print).get_or_compute("features", KEY, lambda: FEATURES),
        lambda folder: TensorCache(folder, print).get_folder_or_build("sources", KEY, build_source),
        lambda folder: write_json(folder / "a" / "b.json", {"x": 1}),
    ],
    ids=["checkpoint", "cache", "folder", "json"],
)
def test_nothing_is_renamed_before_it_is_synced(work, tmp_path, monkeypatch):
    """What a power cut needs: content synced before its rename, the folder synced after it."""
    open_files, unsynced, unsynced_folders = {}, set(), set()

    class Watching(disk.Disk):
        def create(self, path):
            descriptor = super().create(path)
            open_files[descriptor] = path
            return descriptor

        def write(self, descriptor, data):
            super().write(descriptor, data)
            unsynced.add(open_files[descriptor])

        def fsync(self, descriptor):
            super().fsync(descriptor)
            unsynced.discard(open_files.get(descriptor))

        def replace(self, old, new):
            assert not [p for p in unsynced if p == old or p.is_relative_to(old)], f"{old} renamed before it was synced"
            if new.name.endswith(".tmp"):
                return super().replace(old, new)  # put aside to be removed: need not last
            assert not [p for p in unsynced_folders if p.is_relative_to(old)], f"{old} holds names that may be lost"
            super().replace(old, new)
            unsynced_folders.add(new.parent)

        def sync_folder(self, folder):
            super().sync_folder(folder)
            unsynced_folders.discard(folder)

    monkeypatch.setattr(disk, "calls", Watching())
    work(tmp_path)
    assert unsynced == set()
    assert unsynced_folders == set()
