"""How long does `tlplat check-data` take on a table and on texts of 100,000 rows?

    python bench/check_data.py [--rows 100000] [--kinds table texts]

Loans are drawn from the embedded credit table with noise on every number; texts are made of two sentences of the nlp
demo's files, both praise or both blame. In both, 3 % of the labels are turned round, 200 rows are copies and 5 lie far
off (loans) or say nothing (texts). Each call is a process of its own from start to end; the source and its features of
its own rows are in the cache, those of the 100,000 rows are not. The peak is what the kernel says of it (ru_maxrss).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, publish

from tlplat.cache import cache_root
from tlplat.domain import DomainContext
from tlplat.registry import Registry

TURNED, COPIES, ODD = 0.03, 200, 5
NUMBERS = ("Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price")


def context() -> DomainContext:
    return DomainContext(Registry(), cache_root())


def planted(rows: list[dict[str, Any]], label: str, names: tuple[str, str], rng: np.random.Generator) -> None:
    """Labels turned round and copies, in place."""
    for i in rng.choice(len(rows), int(TURNED * len(rows)), replace=False).tolist():
        rows[i][label] = names[1 - names.index(rows[i][label])]
    for i in rng.choice(len(rows) - COPIES, COPIES, replace=False).tolist():
        rows[len(rows) - COPIES + i % COPIES] = dict(rows[i])


def loans(path: Path, count: int) -> list[str]:
    from tlplat_finance.loans import SELF_EMPLOYED, consumer_credit

    rng = np.random.default_rng(0)
    known = consumer_credit(SELF_EMPLOYED, context())
    drawn = rng.integers(0, len(known), count)
    columns = {}
    for name, values in known.table.items():
        column = values[drawn]
        if name in NUMBERS:
            column = np.round(column * rng.lognormal(0, 0.15, count) + rng.random(count), 2)
        columns[name] = column
    rows = [
        {**{n: "" if v[i] is None or v[i] != v[i] else v[i] for n, v in columns.items()}, "Status": known.labels[d]}
        for i, d in enumerate(drawn.tolist())
    ]
    for i in rng.choice(count // 2, ODD, replace=False).tolist():
        rows[i] |= {"Amount": 9e8, "Price": -9e8, "Age": 5000, "Income": 9e7}
    planted(rows, "Status", ("good", "bad"), rng)
    written(path, rows)
    return ["--domain", "finance", "--target", "Status"]


def texts(path: Path, count: int) -> list[str]:
    from tlplat_nlp.demo import KINDS, rated_rows

    rng = np.random.default_rng(0)
    by: dict[str, list[str]] = {"negative": [], "positive": []}
    for kind in KINDS:
        found, _ = rated_rows(kind, context())
        for text, label in zip(found.texts, found.labelled(), strict=True):
            by[label].append(text)
    rows = []
    for label in rng.permutation(["negative", "positive"] * (count // 2)).tolist():
        a, b = rng.integers(0, len(by[label]), 2).tolist()
        rows.append({"text": f"{by[label][a]} {by[label][b]}", "label": label})
    for i in rng.choice(count // 2, ODD, replace=False).tolist():
        rows[i]["text"] = f"%% {i} {i * i} --"
    planted(rows, "label", ("negative", "positive"), rng)
    written(path, rows)
    return ["--domain", "nlp"]


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measured(arguments: list[str]) -> dict[str, Any]:
    """Wall and processor seconds and peak MB of one call, and what it found."""
    code = (
        "import resource, subprocess, sys, json; done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([done.returncode, done.stdout, done.stderr, used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    call = [sys.executable, "-m", "tlplat", "check-data", *arguments, "--quiet", "--json"]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    status, out, err, used, peak = json.loads(done.stdout)
    if not out:
        raise RuntimeError(f"exit {status}: {err}")
    found = {f["kind"]: f["count"] for f in json.loads(out)["findings"]}
    said = ", ".join(f"{kind} {count}" if count else kind for kind, count in found.items())
    return {
        "seconds": round(seconds, 1), "processor seconds": round(used, 1), "peak MB": round(peak / 1024), "found": said
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=["table", "texts"], default=["table", "texts"])
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for part in ("assets", "sources"):
            if (cache_root() / part).exists():
                shutil.copytree(cache_root() / part, Path(name) / "cache" / part)
        os.environ["TLPLAT_CACHE_DIR"] = str(Path(name) / "cache")
        for kind in given.kinds:
            path = Path(name) / f"{kind}.csv"
            arguments = {"table": loans, "texts": texts}[kind](path, given.rows)
            measured([*arguments[:2], "--labels", "50"])  # the source is made
            found = measured([*arguments, "--data", str(path)])
            size = round(path.stat().st_size / 1e6, 1)
            rows.append({"data": kind, "rows": given.rows, "file MB": size, **found})
            print(rows[-1], flush=True)
    publish("check_data", "tlplat check-data on large data", list(rows[0]), rows, machine())


if __name__ == "__main__":
    main()
