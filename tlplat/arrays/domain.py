"""The domain ``arrays``: rows in one file, a share of them set apart as test rows, plain baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from tlplat.arrays.baselines import baselines_for
from tlplat.arrays.rows import Rows, fitting, read
from tlplat.data.examples import Examples, Inputs, TensorInputs
from tlplat.data.sides import files_given, given_sides
from tlplat.data.splits import partition
from tlplat.domain import (
    Backbone,
    Baseline,
    DataOptions,
    Domain,
    DomainContext,
    DomainOptions,
    Explainer,
    SourceInfo,
    TargetTask,
)
from tlplat.errors import DataError, ModelError, UsageError
from tlplat.intake import Intake, NetworkInput
from tlplat.kerasio.opening import is_keras
from tlplat.kerasio.source import load_source
from tlplat.model import SourceModel
from tlplat.pieces import Columns
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression
from tlplat.tasks.sets import labels_card
from tlplat.weights import read_weights

OWN = "own"


class ArrayOptions(DomainOptions):
    task: Literal["auto", "classification", "regression"] = Field(
        "auto", description="auto: regression where y holds floating-point numbers"
    )
    source_labels: tuple[str, ...] = Field(
        (), description="class names of a Keras or ONNX source's outputs, in order; else they are numbered from 0"
    )
    test_share: float = Field(0.25, gt=0, lt=1, description="share of the rows set apart, looked at once at the end")


class Arrays(Domain):
    """Rows of numbers of one shape; the source is a Keras file, a module from Python, or a folder of tlplat's."""

    name: ClassVar[str] = "arrays"
    summary: ClassVar[str] = "rows of numbers (.npz, .safetensors), for a Keras model or any torch module from Python"
    Options = ArrayOptions
    takes_split: ClassVar[bool] = True

    def sources(self) -> Sequence[SourceInfo]:
        return [
            SourceInfo(
                OWN,
                "a model of yours: --source FILE.keras|FILE.h5|FILE.onnx|FOLDER, or a torch module from Python",
                "yours",
                "none",
            )
        ]

    def source(self, name: str, options: ArrayOptions, context: DomainContext) -> SourceModel:
        if name == OWN:
            raise UsageError(
                "TL-SOURCE-NONE",
                "the domain arrays has no source model of its own",
                fix="name a Keras model or a source folder with --source, or hand a module to tlplat.transfer(...)",
            )
        path = Path(name)
        if is_keras(path):
            return load_source(path, options.source_labels)
        if path.is_file():
            raise _no_structure(path)
        raise self.unknown_source(name, "a Keras model (.keras, .h5), or a folder made by tlplat")

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """The rows as they are, of the network's type."""
        if data.path is None:
            raise _no_demo()
        rows = read(data.path).x
        shape = tuple(rows.shape[1:])
        if not network.takes(shape):
            given = f"rows of shape {shape} in {data.path.name}"
            raise network.misfit(self.name, given, "give rows of the shape that the network was trained on")
        dtype = network.dtype if network.integers else "float32"
        preprocess = {"shape": list(network.shape), "dtype": dtype, "cast": True}
        return Intake(shape, preprocess, labels=options.source_labels)

    def target(
        self, options: ArrayOptions, data: DataOptions, source: SourceModel, context: DomainContext
    ) -> TargetTask:
        if data.path is None:
            raise _no_demo()
        rows = fitting(read(data.path, files_given(data)[1:], data.split), source.preprocess, data.path.name)
        task, targets = _task(rows, options, data.path, source)
        sides = given_sides(data, rows.sizes, rows.sides, rows.ids.__getitem__, "array")
        examples = Examples(
            TensorInputs(rows.x),
            targets,
            rows.ids,
            rows.groups,
            rows.groups,
            validation=None if sides is None else sides.validation,
        )
        task.check(examples.targets, rows.ids)
        if sides is not None:
            pool, test = (torch.from_numpy(np.flatnonzero(side)) for side in (~sides.test, sides.test))
            how = f"as said by {sides.by}"
        else:
            pool, test = _held_out(examples, task, options.test_share, context.data_seed)
            how = "at random" if rows.groups is None else "whole groups"
        card = {
            "data": data.path.name,
            "rows": len(rows),
            "shape": list(rows.x.shape[1:]),
            **labels_card(task, targets),
            "split": f"{len(test)} of {len(rows)} rows set apart, {how}",
        }
        return TargetTask(
            title=f"{data.path.stem if data.path.parent.name != 'arrays' else 'arrays'}: {source.name}",
            task=task,
            pool=examples.select(pool),
            test=examples.select(test),
            preprocess=dict(source.preprocess),
            data_card=card,
            unit="row" if rows.groups is None else "group",
        )

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        return baselines_for(target.task)

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        rows = fitting(read(path), preprocess, path.name)
        return rows.ids, TensorInputs(rows.x)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        shape = ", ".join("any" if side is None else str(side) for side in preprocess["shape"])
        return f"{preprocess['dtype']} (rows, {shape}), as the source takes them"

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        """Each number a column, where a row is one list of floating-point numbers; else nothing is known."""
        shape = tuple(preprocess["shape"])
        if len(shape) != 1 or "below" in preprocess or not getattr(torch, preprocess["dtype"]).is_floating_point:
            return None
        return Columns(
            [f"column {i}" for i in range(shape[0])], torch.arange(shape[0]), torch.zeros(shape[0]), "a row of zeros"
        )


def _held_out(examples: Examples, task: Task, share: float, data_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers of pool and test."""
    parts = max(2, round(1 / min(share, 1 - share)))
    fold = partition(examples, data_seed, task, parts)[0]
    return (fold.train, fold.validation) if share <= 0.5 else (fold.validation, fold.train)


def _no_structure(path: Path) -> ModelError:
    """The error for a file of weights; one that is no sound file of them is refused as such."""
    tensors = read_weights(path)
    return ModelError(
        "TL-MODEL-UNSUPPORTED",
        f"{path.name} holds tensors alone, and the domain arrays has no network of its own for them",
        where=str(path),
        found=", ".join(list(tensors)[:4]),
        expected="a model with its structure: .keras, .h5, .onnx, or a module from Python",
        fix="load them into your module and hand it over: tlplat.transfer('arrays', ..., source=module)",
    )


def _no_demo() -> UsageError:
    return UsageError("TL-USAGE", "the domain arrays has no demo", fix="give your rows: --data FILE.npz")


def _task(rows: Rows, options: ArrayOptions, path: Path, source: SourceModel) -> tuple[Task, torch.Tensor]:
    """The task, and the targets as it takes them; classes that are the source's stand in its order."""
    if rows.y is None:
        raise DataError("TL-DATA-LABEL-MISSING", f"{path.name} holds no array y", fix="save the labels as y")
    theirs = [] if source.task is None else list(source.task.labels)
    if rows.y.ndim == 2:
        return _set_task(rows.y, list(rows.classes), options, path, theirs)
    numbers = rows.y.is_floating_point()
    if options.task == "regression" or (options.task == "auto" and numbers):
        values = rows.y.double()
        if rows.classes and not numbers:
            try:
                values = torch.tensor([float(c) for c in rows.classes], dtype=torch.float64)[rows.y]
            except ValueError as error:
                raise DataError(
                    "TL-DATA-TARGET", f"{path.name}: y holds names, not numbers", fix="use task=classification"
                ) from error
        return Regression(), values
    codes, names = rows.y, list(rows.classes)
    if numbers:
        distinct, codes = torch.unique(rows.y, return_inverse=True)
        names = [f"{v:g}" for v in distinct.tolist()]
    elif not names:
        names = [str(i) for i in range(int(rows.y.max()) + 1)]
    if sorted(theirs) == sorted(names):
        codes, names = torch.tensor([theirs.index(n) for n in names])[codes], theirs
    return Classification(names), codes


def _set_task(
    y: torch.Tensor, names: list[str], options: ArrayOptions, path: Path, theirs: list[str]
) -> tuple[Task, torch.Tensor]:
    """As :func:`_task`, for rows with any number of labels y (n, c); ``theirs``: the source's labels."""
    if options.task == "regression":
        raise DataError(
            "TL-DATA-TARGET",
            f"{path.name}: y has {y.shape[1]} columns, and a run predicts one number",
            fix="give one column of numbers as y",
        )
    names = names or [str(i) for i in range(y.shape[1])]
    if sorted(theirs) == sorted(names):
        y, names = y[:, [names.index(name) for name in theirs]], theirs
    return Classification(names, multi_label=True), y
