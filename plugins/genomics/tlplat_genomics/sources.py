"""Source models: networks pretrained here on E. coli, one for each task, and the pretrained tiara."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.sides import Sides
from tlplat.domain import DomainContext
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tasks.classification import Classification
from tlplat_genomics import userdata
from tlplat_genomics.assets import ORGANISMS
from tlplat_genomics.augment import composition_copies
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.codon import CodonFrames
from tlplat_genomics.demo import ABOUT, demo_genome, examples
from tlplat_genomics.normed import NormedCnn
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.split import split_windows
from tlplat_genomics.windows import START_LENGTH, WINDOWS

SOURCE_ORGANISM = "e-coli"
WINDOW_SEED = 0
"""The source's rows do not depend on the run's seeds, so that one pretraining serves all draws of labels."""
VALIDATION_SHARE = 0.1
EPOCHS, LEAST_STEPS = 30, 200
"""Of pretraining on the user's sequences, up to the steps of the recipe."""


@dataclass(frozen=True)
class Recipe:
    """Backbone and training settings; ``copies`` are altered versions of each window (see augment)."""

    base: Ref
    steps: int
    batch_size: int
    learning_rate: float
    copies: int = 0


RECIPES = {
    ("start-site", "cnn"): Recipe(Ref(StrandedCnn.name, {"rc": False}), 1000, 128, 2e-3, copies=7),
    ("start-site", "cnn-norm"): Recipe(Ref(NormedCnn.name, {"rc": False}), 1000, 128, 2e-3, copies=7),
    ("start-site", "codon"): Recipe(Ref(CodonFrames.name), 400, 128, 2e-3),
    ("coding", "codon"): Recipe(Ref(CodonFrames.name), 400, 128, 2e-3),
    ("coding", "cnn-norm"): Recipe(Ref(NormedCnn.name, {"rc": True, "bins": 1}), 600, 64, 2e-3),
    ("coding", "cnn"): Recipe(Ref(StrandedCnn.name, {"rc": True, "bins": 1}), 600, 64, 2e-3),
}
BEST_BACKBONE = {"start-site": "cnn", "coding": "codon"}


MOST_LENT = 4096
"""So many windows of the source are lent to strategies that align source and target."""


def source_name(task: str, backbone: str) -> str:
    """The name of the source that was pretrained for the task."""
    return f"{SOURCE_ORGANISM}-{task}-{BEST_BACKBONE[task] if backbone == 'auto' else backbone}"


def e_coli_windows(task: str, context: DomainContext) -> Examples:
    """Windows of E. coli with the task's labels, as many of each as the genome has, at most 4096, evenly spaced."""
    make, _, _ = WINDOWS[task]
    windows = make(demo_genome(SOURCE_ORGANISM, context), WINDOW_SEED)
    kept = np.unique(np.linspace(0, len(windows) - 1, MOST_LENT).astype(np.int64))
    return Examples(
        TensorInputs(torch.from_numpy(windows.tokens[kept])),
        torch.from_numpy(windows.labels[kept]),
        [windows.ids[i] for i in kept.tolist()],
    )


def pretrained_on_e_coli(task: str, backbone: str, context: DomainContext) -> SourceModel:
    """Train (or take from the cache) the backbone on E. coli's windows; a tenth of them, by region, validates."""
    kind = BEST_BACKBONE[task] if backbone == "auto" else backbone
    recipe = RECIPES[task, kind]
    make, labels, length = WINDOWS[task]
    windows = make(demo_genome(SOURCE_ORGANISM, context), WINDOW_SEED)
    split = split_windows(windows, VALIDATION_SHARE, WINDOW_SEED)
    organism = ORGANISMS[SOURCE_ORGANISM]
    return pretrain(
        source_name(task, kind),
        recipe.base,
        _augmented(examples(windows, split, ~split.test), recipe.copies),
        examples(windows, split, split.test),
        Classification(labels=labels),
        Preprocess(length).to_json(),
        {
            "data": f"{organism.title}: {ABOUT[task]}",
            "altered_copies": recipe.copies,
            "license": organism.fasta.license,
            "citation": organism.fasta.citation,
            "files": {a.name: a.sha256 for a in (organism.fasta, organism.gff)},
            "split": split.report,
        },
        context,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
    )


def pretrained_on_rows(
    path: Path,
    rows: userdata.Rows,
    sides: Sides | None,
    targets: torch.Tensor,
    task: Classification,
    backbone: str,
    context: DomainContext,
) -> SourceModel:
    """Train a backbone on the user's sequences; a tenth of them, by clusters of near-copies, validates."""
    preprocess = Preprocess(max(map(len, rows.tokens)))
    split = userdata.split_rows(rows, sides, targets, preprocess, WINDOW_SEED, VALIDATION_SHARE, task.labels)
    train, validation = userdata.as_examples(rows, targets, split, preprocess)
    recipe = RECIPES["coding" if backbone == "codon" else "start-site", "cnn" if backbone == "auto" else backbone]
    batch = min(recipe.batch_size, len(train))
    return pretrain(
        path.name.partition(".")[0],
        recipe.base,
        train,
        validation,
        task,
        preprocess.to_json(),
        {"data": path.name, "license": "", "citation": "", "split": split.report},
        context,
        steps=min(recipe.steps, max(LEAST_STEPS, EPOCHS * len(train) // batch)),
        batch_size=batch,
        learning_rate=recipe.learning_rate,
    )


def _augmented(train: Examples, copies: int) -> Examples:
    if not copies:
        return train
    assert isinstance(train.inputs, TensorInputs)
    middle = START_LENGTH // 2
    tokens = composition_copies(train.inputs.tensor.numpy(), copies, slice(middle, middle + 3), WINDOW_SEED)
    index = torch.from_numpy(np.tile(np.arange(len(train)), 1 + copies))
    repeated = train.select(index)
    return Examples(
        TensorInputs(torch.from_numpy(tokens)), repeated.targets, repeated.ids, repeated.groups, repeated.units
    )
