"""Does memory grow with the rows that `tlplat predict` reads? A credit model over tables of up to a million rows.

    python bench/predict_stream.py [--rows 10000 100000 1000000] [--packed gz bz2 xz zst]

The largest table is read compressed too, in each of the ways that are named.

Each call is a process of its own; the peak is what the kernel says of it (ru_maxrss), torch included.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import machine, publish

PACKERS: dict[str, Callable[[Path, str], Any]] = {
    "gz": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
    "zst": lambda path, mode: pa.CompressedOutputStream(str(path), "zstd"),
}
HOMES = ("own", "rent", "family")


def loans(path: Path, count: int, seed: int, labelled: bool) -> None:
    """A table of made-up loans."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "income", "years", "home", *(["outcome"] if labelled else [])])
        for start in range(0, count, 10_000):
            n = min(10_000, count - start)
            income, years, home = rng.lognormal(10, 0.4, n), rng.integers(0, 30, n), rng.integers(0, 3, n)
            bad = rng.random(n) < 1 / (1 + np.exp(2 + 0.1 * years - 3e4 / income))
            for i in range(n):
                cells = [f"loan {start + i}", f"{income[i]:.0f}", years[i], HOMES[home[i]]]
                writer.writerow([*cells, *(["bad" if bad[i] else "good"] if labelled else [])])


def call(*arguments: str, **options: object) -> None:
    subprocess.run([sys.executable, "-m", "tlplat", *arguments], check=True, **options)  # type: ignore[call-overload]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--packed", nargs="*", choices=PACKERS, default=list(PACKERS))
    given = parser.parse_args()
    cases = [(count, "") for count in given.rows] + [(max(given.rows), way) for way in given.packed]
    rows = []
    quiet = machine()["load_at_start"] < (os.cpu_count() or 1)  # else times say nothing
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loans(folder / "source.csv", 2000, 1, True)
        loans(folder / "target.csv", 400, 2, True)
        own = ("--domain", "finance", "--target", "outcome", "--quiet")
        call("pretrain", *own, "--data", str(folder / "source.csv"), "-o", str(folder / "src"))
        more = ("--strategy", "full_ft", "--seeds", "1", "--source", str(folder / "src"), "--out", str(folder / "run"))
        call("run", *own, "--data", str(folder / "target.csv"), *more)
        for count, way in cases:
            data, out = folder / "new.csv", folder / "out.csv"
            loans(data, count, 3, False)
            if way:
                data = packed(data, way)
            out.unlink(missing_ok=True)
            began = time.perf_counter()
            peak = measured(folder / "run", data, out)
            seconds = time.perf_counter() - began
            with out.open(encoding="utf-8") as file:
                answered = sum(1 for _ in file) - 1
            assert answered == count, (answered, count)
            row = {"file": "".join(data.suffixes)[1:], "rows": count, "file MB": round(data.stat().st_size / 1e6, 1)}
            row["peak MB"] = round(peak)
            rows.append(
                row | ({"seconds": round(seconds, 1), "rows a second": round(count / seconds)} if quiet else {})
            )
            print(rows[-1], flush=True)
    publish("predict_stream", "tlplat predict over large tables", list(rows[0]), rows, machine())


def packed(data: Path, way: str) -> Path:
    """A compressed copy."""
    found = data.with_name(f"{data.name}.{way}")
    with data.open("rb") as plain, PACKERS[way](found, "wb") as file:
        shutil.copyfileobj(plain, file, 1 << 20)
    return found


def measured(run: Path, data: Path, out: Path) -> float:
    """Peak memory in MB of one call."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    call_ = [sys.executable, "-m", "tlplat", "predict", str(run), str(data), "-o", str(out), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *call_], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    main()
