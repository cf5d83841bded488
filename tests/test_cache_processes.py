"""Several processes at one cache: each key is filled once, nothing torn is read, the dead hold no lock."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch
from cached import FEATURES, KEY, Counted, digest, same

from tlplat.cache import TensorCache
from tlplat.storage import read_tensors


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
