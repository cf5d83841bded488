"""What does each domain's demo find, in what time, beside what is known of it? One run of the command line a demo.

python bench/domains.py [--only finance/credit ...] [--again] [--keep DIR] [--seconds 1800]

Runs are what a user gets: `tlplat run --domain D --task T`, defaults throughout. Each is made
warm by a short run before it (files fetched, source pretrained), which is not timed. A demo that is in
results/domains.json already is kept; --again makes it anew.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from machine import RESULTS, machine, publish

WARM = ("--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=1")
COLUMNS = (
    "domain",
    "demo",
    "labels",
    "metric",
    "winner [95 %]",
    "verdict [95 %]",
    "without transfer",
    "zero-shot",
    "anchor",
    "seconds",
    "CPU seconds",
)
MEASURED = "measured while tlplat was designed, plain scripts, 3 to 10 draws of the labels"


@dataclass(frozen=True)
class Demo:
    """A demo of a domain. ``anchor``: what is known of it, with where it was published or that it was measured."""

    domain: str
    name: str
    flags: tuple[str, ...]
    anchor: str


DEMOS = (
    Demo(
        "genomics",
        "start-site, S. aureus",
        ("--task", "start-site"),
        f"64 labels: fine-tuned .928, zero-shot .925, probe .922, scratch .852, one-hot logistic .840 ({MEASURED})",
    ),
    Demo(
        "genomics",
        "coding, S. aureus",
        ("--task", "coding"),
        f"32 labels, a frame-blind CNN: .792, 3-mer logistic .855; 256 labels: .806, .894 ({MEASURED})",
    ),
    Demo(
        "genomics",
        "start-site, B. theta",
        ("--task", "start-site", "--target-organism", "b-theta"),
        f"32 labels: fine-tuned .947, probe .955, scratch .951, one-hot logistic .889 ({MEASURED})",
    ),
    Demo(
        "vision",
        "classification",
        ("--task", "classification"),
        f"50 labels: fine-tuned .936, probe .892, scratch .754, best classical .852 ({MEASURED})",
    ),
    Demo("vision", "retrieval", ("--task", "retrieval"), "none known"),
    Demo(
        "nlp",
        "sentiment",
        ("--task", "sentiment"),
        "AUROC, 32 labels: probe .694, pulled to the source .792, TF-IDF logistic .554; 128: .770, .799, .632; "
        f"zero-shot .779 ({MEASURED}); SetFit, 64 labels: .78 (measured)",
    ),
    Demo("nlp", "topic", ("--task", "topic"), "none known"),
    Demo(
        "finance",
        "credit",
        ("--task", "credit"),
        f"30 labels: logistic .725, forest .768, pulled to the source .783; 120: .761, .804, .785; "
        f"zero-shot .787 ({MEASURED})",
    ),
    Demo(
        "finance",
        "volatility",
        ("--task", "volatility"),
        f"R2, 40 labels: target only .095, transferred .205; all labels .222 ({MEASURED})",
    ),
    Demo(
        "medicine",
        "prognosis",
        ("--task", "prognosis"),
        f"60 labels: .614 without, .651 with transfer; zero-shot .677 (Cox), .689 (MLP-Cox) ({MEASURED}); trained on "
        "all of Rotterdam: DeepSurv .668 (Katzman et al. 2018)",
    ),
    Demo(
        "medicine",
        "diagnosis",
        ("--task", "diagnosis"),
        "logistic regression, 12 draws of labels and test half: of the source .993; of 20 labels .982, of 60 .989 "
        "(measured with scikit-learn, C = 0.1)",
    ),
    Demo("medicine", "treatment", ("--task", "treatment"), "everybody treated, in the column `without transfer`"),
)


def installed() -> set[str]:
    """Domains that are installed."""
    return {point.name for point in entry_points(group="tlplat.domains")}


def tlplat(*arguments: str, seconds: float) -> tuple[dict[str, Any], float, float]:
    """What the command prints as JSON, its wall time and its CPU time with that of its processes."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tlplat", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=seconds,
        check=False,
    )
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    document = json.loads(done.stdout)
    if done.returncode:
        raise RuntimeError(document["error"]["message"])
    return document, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(demo: Demo, seconds: float, keep: Path | None) -> dict[str, Any]:
    """A row of the table; the run directory is put below ``keep``."""
    flags = ("run", "--domain", demo.domain, *demo.flags)
    with tempfile.TemporaryDirectory() as folder:
        tlplat(*flags, *WARM, "--out", str(Path(folder) / "warm"), seconds=seconds)
        load = os.getloadavg()[0]
        out = (keep or Path(folder)) / "-".join(key(demo).replace(",", "").replace(".", "").replace("/", " ").split())
        report, wall, cpu = tlplat(*flags, "--out", str(out), seconds=seconds)
    candidates = {c["key"]: c for c in report["candidates"]}
    verdict, labels = report["verdict"], report["labels"]
    winner, reference = candidates[verdict["winner"]], candidates[verdict["reference"]]
    without = [c for c in report["candidates"] if not c["transfers"]]
    untouched = [c for c in report["candidates"] if c["strategy"] == "zero_shot"]
    return {
        "key": key(demo),
        "domain": demo.domain,
        "demo": demo.name,
        "labels": labels["train"] + labels["validation"],
        "metric": report["metric"]["name"] + (f" ({report['metric']['unit']})" if report["metric"].get("unit") else ""),
        "winner [95 %]": f"{winner['strategy']} {interval(winner['mean'], winner['interval'])}",
        "verdict [95 %]": f"{verdict['outcome']}: {interval(verdict['difference'], verdict['interval'])} "
        f"against {reference['strategy']}",
        "without transfer": ", ".join(f"{c['strategy']} {figure(c['mean'])}" for c in without),
        "zero-shot": ", ".join(figure(c["mean"]) for c in untouched),
        "anchor": demo.anchor,
        "seconds": round(wall),
        "CPU seconds": round(cpu),
        "test rows": labels["test"],
        "load before": round(load, 1),
        "report": {k: report[k] for k in ("verdict", "labels", "metric")},
    }


def figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval(value: float | None, bounds: list[float | None] | None) -> str:
    low, high = bounds or (None, None)
    return f"{figure(value)} [{figure(low)}, {figure(high)}]"


def key(demo: Demo) -> str:
    return f"{demo.domain}/{demo.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="domain or domain/demo")
    parser.add_argument("--again", action="store_true", help="also what is in the results already")
    parser.add_argument("--keep", type=Path, help="folder for the run directories")
    parser.add_argument("--seconds", type=float, default=1800, help="longest run")
    arguments = parser.parse_args()
    path = RESULTS / "domains.json"
    rows = {r["key"]: r for r in json.loads(path.read_text(encoding="utf-8"))["rows"]} if path.exists() else {}
    about = {
        **machine(),
        "times": "one run each, warm, defaults; the machine's load before it is in domains.json",
        "verdict": "one draw of the labels: the interval is that of the run",
    }
    here = installed()
    for demo in DEMOS:
        wanted = not arguments.only or {demo.domain, key(demo)} & set(arguments.only)
        if demo.domain not in here or not wanted or (key(demo) in rows and not arguments.again):
            continue
        try:
            rows[key(demo)] = measured(demo, arguments.seconds, arguments.keep)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{key(demo)}: {error}", file=sys.stderr)
            continue
        found = [rows[key(d)] for d in DEMOS if key(d) in rows]
        publish("domains", "Each domain's demos", COLUMNS, found, about)


if __name__ == "__main__":
    main()
