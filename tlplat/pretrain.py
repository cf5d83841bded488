"""Source pretraining: a backbone and its head trained on a source data set, cached by content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tlplat.data.examples import Examples, state_digest
from tlplat.domain import DomainContext
from tlplat.features import apply_in_batches, conclude
from tlplat.model import Backbone, SourceModel, TransferModel
from tlplat.modelio import load_source, save_source
from tlplat.plan import Phase, Ref, json_hash
from tlplat.tasks.base import Task
from tlplat.train import FitSettings, fit


def pretrain(
    name: str,
    base: Ref,
    train: Examples,
    validation: Examples,
    task: Task,
    preprocess: Mapping[str, Any],
    provenance: Mapping[str, Any],
    context: DomainContext,
    *,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
) -> SourceModel:
    """Train ``base`` on the source's rows, or load it from the cache when the same was trained before.

    The key covers the rows' content, the structure, the settings, the seed and the number of threads, so that an
    equal key means bitwise equal weights. A killed pretraining resumes from its checkpoint.

    Args:
        name: the source's name. base: factory and arguments of the backbone.
        validation: rows that choose the best step, and give the provenance its figure, of three digits: all digits
            of an AUROC would tell how many rows have a label.
        provenance: data, licence, citation; figures of the training are added.
        steps, batch_size, learning_rate, weight_decay: AdamW, warm-up and cosine decay.
    """
    factory: type[Backbone] = context.registry.get("backbones", base.name)
    with torch.random.fork_rng(devices=[]):
        blank = factory(**base.args)
    base = Ref(base.name, blank.config())  # defaults too: they may change
    recipe = {
        "base": [base.name, dict(base.args), factory.code_version],
        "rows": [train.inputs.digest(), validation.inputs.digest(), state_digest({"y": train.targets})],
        "task": dict(task.info().options),
        "preprocess": dict(preprocess),
        "fit": [steps, batch_size, learning_rate, weight_decay],
        "seed": context.seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    task = task.settled(train.targets)
    key = json_hash(recipe, length=64)

    def build(folder: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            backbone = factory(**base.args)
            model = TransferModel(backbone, task.head(backbone.feature_dim))
        phase = Phase(trainable=("*",), learning_rate=learning_rate, weight_decay=weight_decay)
        with context.report.task(f"pretraining {name}", total=steps) as advance:
            result = fit(
                model,
                [phase],
                train,
                task,
                steps=steps,
                seed=context.seed,
                settings=FitSettings(batch_size=max(batch_size, task.least_batch)),
                registry=context.registry,
                validation=validation,
                keep_best=True,
                checkpoint=context.cache / "pretraining" / key,
                warn=context.warn,
                advance=advance,
            )
        outputs = apply_in_batches(model, model, validation.inputs)
        done = conclude(task, model, train)
        metric = done.metrics[0]
        score = float(metric(validation.targets.numpy(), done.decode(outputs))[0])
        head = model.head.state_dict()
        state = backbone.state_dict()
        source = SourceModel(
            name=name,
            base=base,
            state=state,
            head=head,
            task=done.info(),
            preprocess=preprocess,
            provenance={
                **provenance,
                "rows": len(train),
                "steps": result.best_step or result.steps,
                "validation": {metric.name: float(f"{score:.3g}")},
                "weights_sha256": state_digest({**state, **{f"head.{k}": v for k, v in head.items()}}),
            },
        )
        save_source(folder, source)

    cache = context.tensors
    if context.dry and not cache.has_folder("sources", key):
        context.warn(f"the source {name} is not in the cache: a run pretrains it first ({steps} steps)")
        return SourceModel(name, base, blank.state_dict(), None, task.info(), preprocess, provenance, stand_in=True)
    source = load_source(cache.get_folder_or_build("sources", key, build))
    _remove(context.cache / "pretraining" / key)
    return source


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
