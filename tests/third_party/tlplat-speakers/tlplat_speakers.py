"""Who speaks: nine men say the Japanese vowels /ae/; a source tells five of them apart, the target is the other four.

An utterance is 25 frames of 12 LPC cepstrum coefficients (Kudo, Toyama & Shimbo 1999, UCI Japanese Vowels), read from
the wheel of aeon, which is fetched and not installed. Pool and test rows are the data's own training and test
utterances, recorded apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from tlplat import hookimpl
from tlplat.assets import Asset, PipMember, fetch
from tlplat.data.examples import Examples, Inputs, TensorInputs
from tlplat.domain import Baseline, DataOptions, Domain, DomainContext, SourceInfo, TargetTask
from tlplat.errors import DataError, ModelError, UsageError
from tlplat.model import Backbone, SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tasks.classification import Classification

CHANNELS, FRAMES = 12, 25
FACTS = {"license": "CC-BY-4.0", "citation": "Kudo, Toyama & Shimbo 1999, Pattern Recognition Letters 20 (UCI)"}
HASHES = {
    "TRAIN": "8958279c6296b97c8e34038346407935222db171492b84dffa3b930d087bc2d6",
    "TEST": "bb83bb1aa6bfb17faae269f6829b7cac71de36fdd3264ee34137fe90270d5895",
}
ASSETS = {
    part: Asset(
        f"japanese-vowels-{part.lower()}",
        digest,
        **FACTS,
        origin=PipMember("aeon", "1.6.0", f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_eq_{part}.ts"),
    )
    for part, digest in HASHES.items()
}


class FrameNet(Backbone):
    """Two convolutions over time, and the mean and maximum of each channel."""

    name: ClassVar[str] = "speakers_frames"
    channel_dim: ClassVar[int] = 1

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.width = width
        sizes = {"near": (CHANNELS, width), "far": (width, width)}
        self.blocks = nn.ModuleDict(
            {k: nn.Sequential(nn.Conv1d(*v, 5, padding=2), nn.BatchNorm1d(v[1]), nn.ReLU()) for k, v in sizes.items()}
        )

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    def embed(self, batch: Any) -> Tensor:
        return batch

    def pool(self, hidden: Tensor) -> Tensor:
        return torch.cat([hidden.mean(dim=2), hidden.amax(dim=2)], dim=1)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (2 * self.width,) * len(self.blocks)


class Forest(Baseline):
    """What the field does without transfer: summaries of each channel, and a forest."""

    name: ClassVar[str] = "summary_forest"
    summary: ClassVar[str] = "random forest on means and deviations of the channels"

    def fit_predict(self, train: Examples, others: Sequence[Any], task: Any, seed: int) -> list[np.ndarray]:
        model = RandomForestClassifier(200, random_state=seed)
        model.fit(_summary(train.inputs), train.targets.numpy())
        return [model.predict_proba(_summary(other)) for other in others]


def _summary(inputs: Any) -> np.ndarray:
    frames = inputs.tensor.numpy()
    return np.concatenate([frames.mean(axis=2), frames.std(axis=2)], axis=1)


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Utterances (n, 12, 25) and speakers of a file in aeon's format; the speaker may be left out of new rows."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        begin = [line.strip().lower() for line in lines].index("@data") + 1 if "@data" in lines else 0
        rows = [line.split(":") for line in lines[begin:] if line.strip()]
        frames = np.array([[c.split(",") for c in row[:CHANNELS]] for row in rows], dtype=np.float32)
    except (OSError, ValueError) as error:
        raise DataError("TL-DATA-READ", f"{path}: {error}", fix="give 12 channels of 25 numbers a line") from error
    if frames.shape[1:] != (CHANNELS, FRAMES) or not np.isfinite(frames).all():
        found = f"shape {frames.shape}, all of it finite: {bool(np.isfinite(frames).all())}"
        raise DataError("TL-DATA-READ", f"{path} has no rows of 12 channels", found=found, fix="see `domains speakers`")
    return frames, [row[CHANNELS] if len(row) > CHANNELS else "" for row in rows]


def utterances(part: str, speakers: str, context: DomainContext) -> Examples:
    """The part's rows of the speakers, each named by its line."""
    path = fetch(ASSETS[part], context.cache, offline=context.offline, report=context.report)
    frames, names = read(path)
    index = [i for i, name in enumerate(names) if name in speakers]
    targets = torch.tensor([speakers.index(names[i]) for i in index])
    return Examples(TensorInputs(torch.from_numpy(frames[index])), targets, [f"{part.lower()} {i}" for i in index])


class Speakers(Domain):
    """Speakers of Japanese vowels."""

    name: ClassVar[str] = "speakers"
    summary: ClassVar[str] = "who speaks: Japanese vowels, from five speakers to four others"
    default_labels: ClassVar[int | None] = 24
    tasks: ClassVar[Mapping[str, str]] = {"speakers": "which of the speakers 6 to 9"}

    def sources(self) -> Sequence[SourceInfo]:
        return [SourceInfo("five-speakers", "trained here on the speakers 1 to 5 (seconds)", **FACTS)]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        if name != "five-speakers":
            raise ModelError("TL-MODEL-UNKNOWN", f"there is no source {name!r}", fix="choose --source five-speakers")
        train, held = utterances("TRAIN", "12345", context), utterances("TEST", "12345", context)
        task, shape = Classification(list("12345")), {"channels": CHANNELS, "frames": FRAMES}
        return pretrain(name, Ref(FrameNet.name), train, held, task, shape, FACTS, context, steps=200)

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        if data.path is not None:
            raise UsageError("TL-USAGE", "the speakers domain has its demo alone", fix="leave out --data")
        pool, test = utterances("TRAIN", "6789", context), utterances("TEST", "6789", context)
        card = {**FACTS, "data": "UCI Japanese Vowels, by way of aeon 1.6.0", "split": "the data's own"}
        task = Classification(list("6789"))
        return TargetTask("speakers 1-5 -> 6-9", task, pool, test, source.preprocess, card, unlabeled=pool.inputs)

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        return [Forest()]

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        frames, _ = read(path)
        return [f"row {i + 1}" for i in range(len(frames))], TensorInputs(torch.from_numpy(frames))

    def assets(self) -> Sequence[Asset]:
        return list(ASSETS.values())


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    return [Speakers]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    return [FrameNet]
