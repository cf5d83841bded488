"""The schema of a run's configuration, its checks, its TOML form; :mod:`tlplat.resolve` says where values come from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from tlplat.budget import Limit
from tlplat.errors import Finding, UsageError, did_you_mean
from tlplat.requirement import Requirement
from tlplat.tomlfile import dump, read

M = TypeVar("M", bound=BaseModel)


def _split(value: Any) -> Any:
    """``"a,b"`` as a list: what an environment variable or --set can say."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _labels(value: Any) -> Any:
    if value in (None, "all") or (type(value) is int and 2 <= value < 2**31):
        return value
    raise ValueError(f'wrong value (found: {quote(value)}, expected: an integer from 2, or "all")')


def _absolute(value: Any) -> Any:
    """Paths are taken from the working directory, and kept absolute so that a resume elsewhere finds them."""
    return Path(os.path.abspath(value)) if isinstance(value, str | Path) and os.fspath(value) else value


def _budget(value: str) -> str:
    Limit.parse(value)
    return value


def _requirement(value: str) -> str:
    Requirement.parse(value)
    return value


def _separator(value: str) -> str:
    if value.isalnum():
        raise ValueError(f"wrong value (found: {quote(value)}, expected: marks such as ; or |, not letters or digits)")
    return value


def _string(value: Any) -> Any:
    """Keeps strings that are not UTF-8 (names of files), which pydantic's own check refuses."""
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("string_type", "a string")
    return value


Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Switch = Annotated[bool, Field(strict=True)]
Positive = Annotated[float, Field(strict=True, gt=0)]
FilePath = Annotated[Path, BeforeValidator(_absolute)]
Text = Annotated[str, PlainValidator(_string)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainOptions(Table):
    """[train]: the one training loop."""

    steps: Count | None = Field(default=None, description="training steps of a trial; overrides the strategy's budget")
    epochs: Positive | None = Field(
        default=None, description="passes over the training rows; used where steps is not given"
    )
    batch_size: Count = Field(default=32, description="rows of a step")
    learning_rate: Positive | None = Field(default=None, description="overrides the strategies' grids")
    patience: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=10, description="evaluations without progress before a stop"
    )
    clip_norm: Positive = Field(default=1.0, description="largest gradient norm")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the forward pass")
    accumulate: Count = Field(default=1, description="parts of which a step's gradient is summed")
    checkpoint_seconds: Annotated[float, Field(strict=True, ge=0)] = Field(
        default=20.0, description="time between checkpoints"
    )
    checkpoint_steps: Count | None = Field(
        default=None, description="steps between checkpoints; overrides checkpoint_seconds"
    )


class FeatureOptions(Table):
    """[features]: the cache of frozen features."""

    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="kept in: bfloat16 takes half the memory and disk, and rounds to three digits"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="computed in: bfloat16 is faster where the processor has it, to three digits"
    )


class DataTable(Table):
    """[data]: the user's own data; without a path the domain runs its demo."""

    path: FilePath | None = Field(default=None, description="your data; without it the domain's own demo runs")
    labels_from: Text | None = Field(
        default=None, description="where labels stand: header, a CSV of id,label, or a column"
    )
    target: Text | None = Field(
        default=None, description="the column to predict, or several of yes and no: comedy,drama,war"
    )
    label_separator: Annotated[Text, AfterValidator(_separator)] | None = Field(
        default=None, description="what parts the names of a row's labels in one cell, such as ;"
    )
    group: Text | None = Field(default=None, description="the column whose rows must not be split")
    split: Text | None = Field(
        default=None,
        description="the column, array or field of titles that says train, val or test; default: the domain splits",
    )
    val_data: FilePath | None = Field(
        default=None, description="validation rows, beside --data and --test-data; default: folds of the labelled rows"
    )
    test_data: FilePath | None = Field(default=None, description="test rows; default: the domain holds some out")
    unlabeled: FilePath | None = Field(
        default=None,
        description="a file of unlabelled target rows to adapt to, such as more.fasta; default: the domain's own",
    )


class RunConfig(Table):
    """Everything that decides a run's result, and where it is put."""

    domain: Text = Field(description="the domain: `tlplat domains` lists them")
    source: Text | None = Field(
        default=None,
        description="source model: a name, a path, names a,b, or auto (the best two); default: the domain's first",
    )
    strategies: Annotated[tuple[Text, ...], BeforeValidator(_split), Field(min_length=1)] = Field(
        default=("auto",), description="strategies, or auto for all that fit"
    )
    labels: Annotated[int | Literal["all"] | None, PlainValidator(_labels)] = Field(
        default=None, description='labelled rows, training and validation together; "all" for every row'
    )
    seeds: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(default=5, description="repetitions of each trial")
    seed: Seed = Field(default=0, description="first seed: initialisation, order, folds")
    data_seed: Seed = Field(default=0, description="decides which rows are labelled")
    out: FilePath | None = Field(default=None, description="the run directory; default runs/<domain>-<time>-<hash>")
    jobs: Annotated[int, Field(strict=True, ge=1, le=64)] | None = Field(
        default=None,
        description="processes that compute trials side by side; default: one a core, at most 4",
    )
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = Field(
        default=None, description="CPU threads of each process; default: the cores shared out over the jobs"
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d{1,3})?)$")] = Field(
        default="cpu", description="where tensors live: cpu, cuda or cuda:N"
    )
    deterministic: Switch = Field(default=False, description="deterministic kernels only")
    offline: Switch = Field(default=False, description="no network: assets must be in the cache")
    budget: Annotated[Text, AfterValidator(_budget)] | None = Field(
        default=None,
        description="what the search may spend: 90s, 10m, 1.5h, epochs=N (passes over the rows, all fits together), "
        "trials=N (at full length); default: about a minute for the demos",
    )
    clean: Switch = Field(
        default=False,
        description="leave copies and doubtful labels out of training, as check-data shows them; no test row goes",
    )
    metric: Text | None = Field(
        default=None,
        description="what selection and verdict go by, such as balanced_accuracy; default: the task's first",
    )
    balance: Switch = Field(
        default=False,
        description="count classes alike, however rare: predictions are those for classes that are equally frequent",
    )
    require: Annotated[tuple[Annotated[Text, AfterValidator(_requirement)], ...], BeforeValidator(_split)] = Field(
        default=(), description="conditions, exit 8 where unmet: auroc>=0.9, no-negative-transfer"
    )
    data: DataTable = DataTable()
    train: TrainOptions = TrainOptions()
    features: FeatureOptions = FeatureOptions()
    options: dict[str, Any] = Field(default_factory=dict, description="the domain's own options")


TABLES: Mapping[str, type[Table]] = {"data": DataTable, "train": TrainOptions, "features": FeatureOptions}


def keys() -> dict[str, Any]:
    """Every key, dotted, with its pydantic FieldInfo; ``options.*`` is the domain's."""
    found: dict[str, Any] = {}
    for name, info in RunConfig.model_fields.items():
        if name in TABLES:
            found |= {f"{name}.{k}": v for k, v in TABLES[name].model_fields.items()}
        elif name != "options":
            found[name] = info
    return found


@dataclass(frozen=True)
class Fault:
    """Something wrong with a configuration: its kind (TYPE, UNKNOWN, MISSING), the dotted key, and the finding."""

    kind: str
    key: str
    finding: Finding


def to_toml(config: RunConfig) -> str:
    """``config`` as the TOML of a run directory's config.toml: complete, so that changed defaults do not alter it."""
    return dump(config.model_dump())


def from_toml(path: Path) -> RunConfig:
    """Read a run directory's config.toml back; raises UsageError as a user's own file does."""
    config, faults = check(RunConfig, read(path))
    if config is None:
        raise UsageError(
            "TL-CONFIG-TYPE",
            f"{path} is not the configuration of a run",
            findings=[fault.finding for fault in faults],
            fix="restore the file from a copy, or start a new run",
        )
    return config


def check(model: type[M], document: Mapping[str, Any], prefix: str = "") -> tuple[M | None, list[Fault]]:
    """``document`` as a ``model``, or None and every fault, each under its dotted key."""
    try:
        return model.model_validate(dict(document)), []
    except ValidationError as error:
        return None, [_fault(model, e, prefix) for e in error.errors(include_url=False)]


_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number (an integer or a float)",
    "bool_type": "true or false",
    "string_type": "a string",
    "path_type": "a path in quotes",
    "tuple_type": "a list of strings",
    "model_type": "a table",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "string_pattern_mismatch": "cpu, cuda or cuda:N",
}


def _fault(model: type[BaseModel], error: Any, prefix: str) -> Fault:
    key = prefix + ".".join(str(part) for part in error["loc"])
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return Fault("UNKNOWN", key, Finding(f"unknown key{suggest(key, model, prefix)}", key))
    if kind == "missing":
        return Fault("MISSING", key, Finding("missing", key))
    if kind == "value_error":
        return Fault("TYPE", key, Finding(str(error["ctx"]["error"]), key))
    message = error["msg"].removeprefix("Input should be ")
    return Fault("TYPE", key, Finding("wrong value", key, quote(value), _EXPECTED.get(kind, message)))


def quote(value: Any) -> str:
    """A value as TOML would spell it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def suggest(key: str, model: type[BaseModel], prefix: str = "") -> str:
    """``; did you mean 'train.epochs'?``: the key of that name in another table, else the nearest."""
    known = list(keys()) if model is RunConfig else [prefix + name for name in model.model_fields]
    leaf = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]
    return f"; did you mean {same[0]!r}?" if len(same) == 1 else did_you_mean(key, known)
