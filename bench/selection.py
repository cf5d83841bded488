"""Is the choice worth having? `--strategy auto` at the default budget against the best strategy in hindsight.

For each cell (domain, target, source network, labels) and draw of test rows, labels and seeds, the default search
chooses; its score is the mean test score of what it chose, over the run's seeds. Every strategy at its usual rate is
then fitted on the same labelled rows with two seeds: the best of these is picked on one seed and compared on the other,
both ways, so that the luck of many equal strategies is no regret. Intervals are Student's over cells.

python bench/selection.py [--draws 2] [--only coding/b-theta] [--trials FOLDER] [--show]

Finished runs are kept in results/selection-cells.json and not repeated; one that has lost its "auto" there is searched
again, with the hindsight that is known.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, machine, publish
from scipy.stats import t as student

from tlplat.allowance import Allowance, allow
from tlplat.config import RunConfig
from tlplat.halving import PLAIN, search_cost
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.resolve import resolve
from tlplat.rounds import choice, everyone, seek
from tlplat.selection import Job, Search
from tlplat.stage import load_registry, prepare, search_of, seeds_of
from tlplat.storage import read_json
from tlplat.trial import Candidate, Rows

HINDSIGHT_SEEDS = 2
ALWAYS = ("full_ft", "linear_probe", "zero_shot")


@dataclass(frozen=True)
class Cell:
    """A demo of a domain with its options, and how many rows of the target are labelled."""

    name: str
    labels: int
    domain: str
    options: Mapping[str, str]


def genomes(task: str, organism: str, backbone: str, labels: int) -> Cell:
    options = {"task": task, "target_organism": organism, "backbone": backbone}
    return Cell(f"{task}/{organism}/{backbone}", labels, "genomics", options)


CELLS = [
    *(genomes("start-site", o, "cnn", n) for n in (64, 16) for o in ("s-aureus", "b-theta")),
    *(genomes("coding", o, "codon", n) for n in (64, 16) for o in ("s-aureus", "b-theta")),
    *(genomes("start-site", o, "cnn-norm", 32) for o in ("s-aureus", "b-theta")),
    *(genomes("coding", o, "cnn", 32) for o in ("s-aureus", "b-theta")),
    *(Cell("credit/self-employed", n, "finance", {"task": "credit"}) for n in (40, 120)),
    *(Cell("prognosis/gbsg", n, "medicine", {"task": "prognosis"}) for n in (60, 200)),
    Cell("diagnosis", 40, "medicine", {"task": "diagnosis"}),
    *(Cell("digits", n, "vision", {"task": "classification"}) for n in (20, 50)),
]


@functools.cache
def registry(domain: str) -> Registry:
    return load_registry(RunConfig.model_validate({"domain": domain}))


def measure(cell: Cell, draw: int, trials: Path, known: dict[str, Any]) -> dict[str, Any]:
    """What the search chose on one draw, its test score, and those of every strategy at its usual rate.

    ``known``: what is there of it already, and not measured again.
    """
    loaded = registry(cell.domain)
    given = {"domain": cell.domain, "labels": cell.labels, "data_seed": draw, "seed": draw, "threads": 1, "jobs": 1}
    given |= {f"options.{name}": value for name, value in cell.options.items()}
    config, _ = resolve(given, environ={}, domain=loaded.get("domains", cell.domain))
    stage = prepare(config, loaded, Reporter())
    search = search_of(stage, trials / f"{cell.name.replace('/', '_')}-{cell.labels}-{draw}", seeds_of(config))
    chosen = known if "auto" in known else choose(search, allow(search, everyone(search), None, 1))
    made = {}
    for candidate in stage.candidates:
        setting = usual(candidate)
        if candidate.transfers or candidate.name == "scratch":
            scores = known.get("arms", {}).get(called(setting), [])
            more = [fitted(search, setting, seed) for seed in search.seeds[len(scores) : HINDSIGHT_SEEDS]]
            made[called(setting)] = [*scores, *more]
    return {**chosen, "arms": made}


def choose(search: Search, allowance: Allowance) -> dict[str, Any]:
    """The default search, in this process, and the test scores of its winner; no other test row is looked at."""

    def carry_out(jobs: Sequence[Job]) -> None:
        for job in jobs:
            search.do(job)

    fresh, begin = not search.folder.exists(), time.monotonic()
    sought = seek(search, carry_out, allowance, lambda chosen: [])
    wall = time.monotonic() - begin
    fits = sum(sum(read_json(p).values()) for p in search.folder.glob("**/timing.json"))
    made = choice(search, sought.final.chosen)
    winner, plain = made.winner, next(c for c in sought.final.chosen if c.candidate.name == PLAIN)
    metric = search.bench.task.metrics[0].name
    return {
        "winner": called(winner.candidate),
        "ahead": made.rival and [called(made.rival.candidate), made.ahead, made.error],
        "auto": [search.finish(v).record["test"][metric] for v in winner.validated],
        "validation": {called(c.candidate): c.validation for c in sought.final.chosen},
        "errors": {called(c.candidate): search.error(c.validated, plain.validated) for c in sought.final.chosen},
        "finalists": sought.final.finalists,
        "search over its trials": round(wall / fits, 3) if fresh else None,
        "fits": round(search_cost(search, everyone(search), sought.final.finalists)),
    }


def usual(candidate: Candidate) -> Candidate:
    """The candidate at the setting that it has where nobody searches."""
    settings = candidate.settings()
    return next((s for s in settings if dict(s.hyperparameters) == dict(candidate.hyperparameters)), settings[0])


def called(candidate: Candidate) -> str:
    rate = candidate.hyperparameters.get("learning_rate")
    return candidate.name if rate is None else f"{candidate.name} {rate:g}"


def fitted(search: Search, setting: Candidate, seed: int) -> float:
    """Test score of one fit on all labelled rows; members are combined as validation says."""
    metric = search.bench.task.metrics[0]
    known = search.place(setting, seed, 1.0) / "metrics.json"
    if setting.name in ("greedy_soup", "wise_ft") or known.exists():
        return float(search.finish(search.validate(setting, seed)).record["test"][metric.name])
    test = Rows.all(search.test)
    outcome = setting.run(search.benched(1.0, costs=False), Rows.all(search.labelled), [test], seed)
    return float(metric(search.test.targets.numpy(), outcome.predictions[0])[0])


def regret(run: dict[str, Any], names: Sequence[str]) -> float:
    """Of one run to the best of the named strategies: picked on one seed, compared on the others."""
    found = []
    for seed in range(HINDSIGHT_SEEDS):
        best = max(names, key=lambda n: run["arms"][n][seed])
        rest = [run["arms"][best][s] for s in range(HINDSIGHT_SEEDS) if s != seed]
        found.append(np.mean(rest) - np.mean(run["auto"]))
    return float(np.mean(found))


def summed_up(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a cell, in points of the metric: regret to the best in hindsight, and the same to each fixed choice."""
    rows = []
    for cell in dict.fromkeys((d["cell"], d["labels"]) for d in done):
        mine = [d for d in done if (d["cell"], d["labels"]) == cell]
        names = [n for n in mine[0]["arms"] if not n.startswith("scratch")]
        means = {n: np.mean([d["arms"][n] for d in mine]) for n in names}
        auto = float(np.mean([np.mean(d["auto"]) for d in mine]))
        row = {"cell": cell[0], "labels": cell[1], "draws": len(mine), "auto": round(100 * auto, 1)}
        row |= {"best in hindsight": max(means, key=lambda n: means[n])}
        row["regret"] = 100 * float(np.mean([regret(d, names) for d in mine]))
        row["naive"] = 100 * float(np.mean([max(d["arms"][n][0] for n in names) - np.mean(d["auto"]) for d in mine]))
        for name in ALWAYS:
            own = [n for n in names if n.split()[0] == name]
            row[f"auto - {name}"] = -100 * float(np.mean([regret(d, own) for d in mine])) if own else math.nan
        rows.append({**row, "chosen": ", ".join(d["winner"] for d in mine)})
    return rows


def interval(values: Sequence[float]) -> str:
    v = np.array([x for x in values if not math.isnan(x)])
    if len(v) < 2:
        return "-"
    half = student.ppf(0.975, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v))
    return f"{v.mean():+.2f} [{v.mean() - half:+.2f}, {v.mean() + half:+.2f}]"


def complete(run: dict[str, Any]) -> bool:
    return "auto" in run and min(map(len, run["arms"].values())) == HINDSIGHT_SEEDS


def tell(name: str, done: list[dict[str, Any]], about: dict[str, Any]) -> None:
    rows = summed_up(done)
    if not rows:
        return
    figures = ["regret", "naive", *(f"auto - {a}" for a in ALWAYS)]
    means = {f: interval([row[f] for row in rows]) for f in figures}
    shown = [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    title = "The default search against the best strategy in hindsight, in points of the cell's metric"
    publish(name, title, list(rows[0]), [*shown, {"cell": f"mean of {len(rows)} cells, 95 %", **means}], about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--only", help="cells whose name begins so")
    parser.add_argument("--name", default="selection")
    parser.add_argument("--show", action="store_true", help="only print and write what was measured before")
    parser.add_argument("--trials", type=Path, help="keep trials here, so that another search need not repeat them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about: dict[str, Any] = {**machine(), "seeds a run": RunConfig.model_fields["seeds"].default}
    cells = RESULTS / f"{options.name}-cells.json"
    kept: list[dict[str, Any]] = json.loads(cells.read_text(encoding="utf-8")) if cells.exists() else []
    done = {(d["cell"], d["labels"], d["draw"]): d for d in kept}
    for draw, cell in itertools.product(range(0 if options.show else options.draws), CELLS):
        where = (cell.name, cell.labels, draw)
        known = done.get(where, {})
        if not cell.name.startswith(options.only or "") or complete(known):
            continue
        begin = time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            found = measure(cell, draw, options.trials or Path(scratch), known)
        done[where] = {"cell": cell.name, "labels": cell.labels, "draw": draw, **found}
        cells.write_text(json.dumps(list(done.values()), indent=1) + "\n", encoding="utf-8")
        best = max(found["arms"].items(), key=lambda pair: np.mean(pair[1]))
        seconds = round(time.process_time() - begin)
        print(where, found["winner"], np.mean(found["auto"]).round(4), found["ahead"], best, seconds, "s", flush=True)
    whole = [d for d in done.values() if complete(d)]
    ratios = [d["search over its trials"] for d in whole if d.get("search over its trials")]
    spent = f"{np.median(ratios):.2f} (median), {max(ratios):.2f} (most)" if ratios else "not measured"
    tell(options.name, whole, {**about, "runs": len(whole), "time of a search over that of its trials": spent})


if __name__ == "__main__":
    main()
