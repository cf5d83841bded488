"""Do useless sources pass for a help? Sources with shuffled labels and with random weights, one run a draw of labels.

python bench/planted.py [--runs 40] [--kind shuffled|random] [--strategies auto --name planted-auto --seeds 5]

Finished runs are kept in results/<name>-runs.json and not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import RESULTS, machine, publish
from scipy.stats import binomtest

from tlplat.config import RunConfig, to_toml
from tlplat.domain import DomainContext
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.rundir import environment
from tlplat.runner import carry_out
from tlplat.stage import load_registry, prepare
from tlplat.storage import write_json, write_text
from tlplat.tasks.classification import Classification

NOMINAL = 0.05
STRATEGIES = ("full_ft", "l2sp", "linear_probe")


def shuffled_source(honest: SourceModel, draw: int, context: DomainContext) -> SourceModel:
    """The same architecture trained on E. coli's windows with permuted labels: nothing to transfer but noise."""
    from tlplat_genomics.demo import demo_genome, examples
    from tlplat_genomics.split import split_windows
    from tlplat_genomics.windows import WINDOWS

    make, labels, _ = WINDOWS["start-site"]
    windows = make(demo_genome("e-coli", context), 0)
    split = split_windows(windows, 0.1, 0)
    parts = [examples(windows, split, ~split.test), examples(windows, split, split.test)]
    generator = torch.Generator().manual_seed(draw)
    train, held = (
        dataclasses.replace(p, targets=p.targets[torch.randperm(len(p), generator=generator)]) for p in parts
    )
    return pretrain(
        f"shuffled-{draw}",
        honest.base,
        train,
        held,
        Classification(labels=labels),
        honest.preprocess,
        {"data": "labels permuted", "license": "none", "citation": "none"},
        context,
        steps=500,
        learning_rate=2e-3,
    )


def random_source(registry: Registry, honest: SourceModel, draw: int) -> SourceModel:
    """The architecture as initialised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw)
        backbone = honest.build(registry, random=True)
    return SourceModel(
        f"random-{draw}",
        Ref(honest.base.name, honest.base.args),
        backbone.state_dict(),
        None,
        None,
        honest.preprocess,
        {},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kind", choices=["shuffled", "random"])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--name", default="planted")
    options = parser.parse_args()
    about = {**machine(), "seeds": options.seeds, "strategies": ", ".join(options.strategies)}
    kinds = [options.kind] if options.kind else ["shuffled", "random"]
    known = RESULTS / f"{options.name}-runs.json"
    done: dict[str, str] = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    for draw, kind in itertools.product(range(options.runs), kinds):
        if f"{kind} {draw}" not in done:
            done[f"{kind} {draw}"] = planted(kind, draw, options.seeds, options.strategies)
            known.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    columns = ["source", "runs", "helps", "ties", "hurts", "rate of helps", "above nominal"]
    title = "Useless sources: start-site, S. aureus, 64 labels"
    publish(options.name, title, columns, [counted(kind, done) for kind in kinds], about)


def counted(kind: str, done: dict[str, str]) -> dict[str, Any]:
    """Outcomes of a kind's runs, and whether there are more helps than the nominal rate allows."""
    outcomes = Counter(outcome for run, outcome in done.items() if run.split()[0] == kind)
    helps, runs = outcomes["helps"], outcomes.total()
    bound = binomtest(helps, runs).proportion_ci(method="exact")
    return {
        "source": kind,
        "runs": runs,
        **{k: outcomes[k] for k in ("helps", "ties", "hurts")},
        "rate of helps": f"{helps / runs:.3f} [{bound.low:.3f}, {bound.high:.3f}]",
        "above nominal": bool(binomtest(helps, runs, NOMINAL, alternative="greater").pvalue < 0.05),
    }


def planted(kind: str, draw: int, seeds: int, strategies: Sequence[str]) -> str:
    """The verdict's outcome of one run with a planted source."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        config = RunConfig.model_validate(
            {
                "domain": "genomics",
                "strategies": strategies,
                "data_seed": draw,
                "seeds": seeds,
                "threads": 1,
                "out": folder,
            }
        )
        registry = load_registry(config)
        honest = prepare(config, registry, Reporter())
        if kind == "random":
            source = random_source(registry, honest.source, draw)
        else:
            source = shuffled_source(honest.source, draw, dataclasses.replace(honest.context, seed=draw))
        stage = prepare(config, registry, Reporter(), source=source)
        write_text(folder / "config.toml", to_toml(config))
        write_json(folder / "env.json", {**environment("cpu"), "config_origins": {}})
        outcome: str = carry_out(folder, stage, Reporter()).report["verdict"]["outcome"]
        print(kind, draw, outcome, flush=True)
        return outcome


if __name__ == "__main__":
    main()
