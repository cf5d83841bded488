"""The toy's vectors with a target of every built-in task: a domain with sources pretrained on the same task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tlplat import hookimpl
from tlplat.data.examples import Examples, TensorInputs
from tlplat.domain import DataOptions, Domain, DomainContext, DomainOptions, SourceInfo, TargetTask
from tlplat.model import Backbone, SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification
from tlplat.tasks.forecasting import Forecasting
from tlplat.tasks.regression import Regression
from tlplat.tasks.retrieval import Retrieval
from tlplat.tasks.survival import Survival
from tlplat.tasks.treatment import Treatment
from tlplat.testing.toy import DIM, ToyNet, ToyTokens

KINDS = ("labels", "number", "cox", "discrete", "forecast", "t_learner", "dr_learner", "retrieval")
TIMES = (2.0, 5.0, 10.0, 20.0)


def make_task(kind: str) -> Task:
    """The task of one kind."""
    made: dict[str, Any] = {
        "labels": lambda: Classification(["a", "b", "c"], multi_label=True),
        "number": lambda: Regression("height", "cm"),
        "cox": lambda: Survival(TIMES),
        "discrete": lambda: Survival(TIMES, method="discrete"),
        "forecast": lambda: Forecasting(2, (0.1, 0.5, 0.9), "load"),
        "t_learner": lambda: Treatment(["none", "drug"], learner="t"),
        "dr_learner": lambda: Treatment(["none", "drug"], learner="dr"),
        "retrieval": lambda: Retrieval(6),
    }
    task: Task = made[kind]()
    return task


def make_targets(kind: str, x: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Targets that hang on the vectors, with noise."""
    h = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    noise = rng.normal(size=len(x))
    if kind == "labels":
        return torch.from_numpy((np.c_[h, x[:, 4], h + x[:, 5]] + 0.3 * noise[:, None] > 0).astype(np.float32))
    if kind == "number":
        return torch.from_numpy(170 + 12 * h + 3 * noise)
    if kind in ("cox", "discrete"):
        time, stop = rng.exponential(8 * np.exp(-h)), rng.exponential(20, size=len(x))
        return torch.from_numpy(np.c_[np.ceil(np.minimum(time, stop)), time <= stop].astype(np.float64))
    if kind == "forecast":
        return torch.from_numpy(50 + 6 * h[:, None] + 2 * rng.normal(size=(len(x), 2)))
    if kind == "retrieval":
        return torch.from_numpy(np.digitize(h, [-1.2, -0.4, 0.4, 1.2]))
    arm = (rng.random(len(x)) < 1 / (1 + np.exp(-x[:, 5]))).astype(np.int64)
    outcome = 20 + 2 * x[:, 6] + 3 * h * arm + noise
    return Treatment.targets(torch.from_numpy(x), torch.from_numpy(arm), torch.from_numpy(outcome), arms=2)


def rows(kind: str, count: int, seed: int, shift: float = 0.0, prefix: str = "row") -> Examples:
    """Vectors, moved by ``shift`` after their targets were made."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, DIM))
    y = make_targets(kind, x, rng)
    moved = (x + shift * np.linspace(-1, 1, DIM)).astype(np.float32)
    return Examples(TensorInputs(torch.from_numpy(moved)), y, [f"{prefix}-{seed}-{i}" for i in range(count)])


def write_rows(path: Path, examples: Examples) -> None:
    """Vectors and a number as a CSV without header, the number last."""
    assert isinstance(examples.inputs, TensorInputs)
    np.savetxt(path, np.c_[examples.inputs.tensor.numpy(), examples.targets.numpy()], delimiter=",")


def read_rows(path: Path) -> Examples:
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", ndmin=2))
    return Examples(TensorInputs(table[:, :DIM].float()), table[:, DIM], [f"line {i + 1}" for i in range(len(table))])


class VariedOptions(DomainOptions):
    predict: Literal[KINDS] = Field("number", description="what is predicted")  # type: ignore[valid-type]
    backbone: Literal["dense", "tokens"] = Field("dense", description="the network that the source was trained with")


class Varied(Domain):
    """Vectors with a target of every task."""

    name: ClassVar[str] = "varied"
    summary: ClassVar[str] = "vectors with a target of every task, for tests"
    Options = VariedOptions
    default_labels: ClassVar[int | None] = 80
    pretrains: ClassVar[bool] = True

    def sources(self) -> Sequence[SourceInfo]:
        return [SourceInfo("straight", "pretrained here", "CC0-1.0", "none")]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        kind, net = options.predict, ToyNet if options.backbone == "dense" else ToyTokens
        return pretrain(
            f"straight-{kind}",
            Ref(net.name, {"width": 16}),
            rows(kind, 1200, 1),
            rows(kind, 200, 2),
            make_task(kind),
            {"dim": DIM},
            {"license": "CC0-1.0", "citation": "none", "data": "synthetic"},
            context,
            steps=200,
            batch_size=64,
        )

    def pretrain(self, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        assert data.path is not None
        everything = read_rows(data.path)
        cut = len(everything) * 9 // 10
        train, held = (everything.select(torch.arange(*ends)) for ends in ((0, cut), (cut, len(everything))))
        card = {"license": "CC0-1.0", "citation": "none"}
        task = make_task("number")
        base = Ref("toy_net", {"width": 16})
        return pretrain(data.path.stem, base, train, held, task, {"dim": DIM}, card, context, steps=200, batch_size=64)

    def target(self, options: Any, data: Any, source: SourceModel, context: DomainContext) -> TargetTask:
        kind = options.predict
        if data.path is not None:
            everything, kind = read_rows(data.path), "number"
            pool, test = everything.select(torch.arange(80)), everything.select(torch.arange(80, len(everything)))
            return TargetTask(data.path.name, make_task(kind), pool, test, {"dim": DIM}, {"data": "synthetic"})
        pool = rows(kind, 240, 3 + 10 * context.data_seed, 0.3, "pool")
        test = rows(kind, 200, 4 + 10 * context.data_seed, 0.3, "test")
        card = {"data": "synthetic"}
        return TargetTask(
            f"{kind}: straight -> moved", make_task(kind), pool, test, {"dim": DIM}, card, unlabeled=pool.inputs
        )

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        return rows(options.predict, 200, 1)

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> Any:
        table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32)
        return [str(i) for i in range(len(table))], TensorInputs(torch.from_numpy(table))


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    return [Varied]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    return [ToyNet, ToyTokens]
