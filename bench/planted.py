"""Do useless sources pass for a help? Sources with shuffled labels and with random weights, one run a draw of labels.

python bench/planted.py [--runs 40] [--kind shuffled|random]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import Counter
from pathlib import Path

import torch
from machine import machine, publish
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
    wrong = [dataclasses.replace(p, targets=p.targets[torch.randperm(len(p), generator=generator)]) for p in parts]
    return pretrain(
        f"shuffled-{draw}",
        honest.base,
        *wrong,
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
    options = parser.parse_args()
    about = {**machine(), "runs": options.runs, "seeds": options.seeds, "strategies": ", ".join(STRATEGIES)}
    rows = []
    for kind in [options.kind] if options.kind else ["shuffled", "random"]:
        outcomes = Counter(planted(kind, draw, options.seeds) for draw in range(options.runs))
        helps = outcomes["helps"]
        bound = binomtest(helps, options.runs).proportion_ci(method="exact")
        rows.append(
            {
                "source": kind,
                "runs": options.runs,
                **{k: outcomes[k] for k in ("helps", "ties", "hurts")},
                "rate of helps": f"{helps / options.runs:.3f} [{bound.low:.3f}, {bound.high:.3f}]",
                "above nominal": bool(binomtest(helps, options.runs, NOMINAL, alternative="greater").pvalue < 0.05),
            }
        )
    columns = ["source", "runs", "helps", "ties", "hurts", "rate of helps", "above nominal"]
    publish("planted", "Useless sources: start-site, S. aureus, 64 labels", columns, rows, about)


def planted(kind: str, draw: int, seeds: int) -> str:
    """The verdict's outcome of one run with a planted source."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        config = RunConfig.model_validate(
            {
                "domain": "genomics",
                "strategies": STRATEGIES,
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
