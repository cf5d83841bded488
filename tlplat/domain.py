"""The domain contract: where data, source models, splits, baselines and preprocessing come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from tlplat.cache import TensorCache
from tlplat.data.examples import Examples, Inputs
from tlplat.errors import ModelError, did_you_mean
from tlplat.intake import Intake, NetworkInput
from tlplat.model import Backbone, SourceModel
from tlplat.pieces import Explainer
from tlplat.progress import Reporter
from tlplat.registry import Registry

if TYPE_CHECKING:
    from tlplat.assets import Asset
    from tlplat.tasks.base import Evidence, Task


class DomainOptions(BaseModel):
    """Options of a domain: fields become flags of ``tlplat run --domain D`` and keys of ``[options]``.

    A field's description is its help text; a ``Literal`` becomes a choice. Unknown keys are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class DataOptions:
    """The user's own data, where given; a domain without it runs its demo."""

    path: Path | None = None
    labels_from: str | None = None
    """``header`` or a CSV of id,label (genomics), or a column's name."""
    target: str | None = None
    """The column of labels, or several of yes and no with commas between; see :mod:`tlplat.data.labelsets`."""
    label_separator: str | None = None
    """Between the names of a row's labels in one cell."""
    group: str | None = None
    split: str | None = None
    """A column of ``train``, ``val`` and ``test``; see :mod:`tlplat.data.sides`."""
    val_data: Path | None = None
    test_data: Path | None = None
    """Files of validation and of test rows, ``path`` being the training rows then."""
    unlabeled: Path | None = None
    """Rows without labels, which the core reads through :meth:`Domain.encode`."""


@dataclass(frozen=True)
class DomainContext:
    """What the core lends a domain: caches, network policy, seeds, progress.

    Attributes:
        cache: the root of tlplat's cache (assets/, sources/, features/ below it).
        offline: True forbids the network; assets must be in the cache.
        seed: initialises source pretraining.
        data_seed: decides which rows are test and which are labelled.
        threads: torch threads of the run.
        dry: nothing may be trained; a source that is not cached stands in with random weights.
        report: progress; a silent one in tests.
        warnings: sentences for the user, shown and saved in the report.
    """

    registry: Registry
    cache: Path
    offline: bool = False
    seed: int = 0
    data_seed: int = 0
    threads: int = 1
    dry: bool = False
    report: Reporter = field(default_factory=Reporter)
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def tensors(self) -> TensorCache:
        """What is computed and kept below ``cache``."""
        return TensorCache(self.cache, self.warn)

    def warn(self, sentence: str) -> None:
        """Keep a sentence for the report, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.report.say(f"warning: {sentence}")


@dataclass(frozen=True)
class TargetTask:
    """The target, checked and split.

    Attributes:
        title: e.g. ``start-site: E. coli -> S. aureus``.
        task: what is predicted, with metrics.
        pool: rows that may be labelled; ``--labels N`` draws from these, by ``data_seed``.
        test: rows looked at once, after selection.
        preprocess: how raw rows became inputs (JSON), saved with the model for ``predict``.
        data_card: what the data are: sources, licence, citation, sizes, how split, checks made (JSON).
        unit: what the bootstrap resamples, in a word: ``row``, ``sequence cluster``, ``patient``.
        unlabeled: rows of the target that may be adapted to without their labels, or None: the pool's inputs, say.
            The core leaves out those that are labelled or test rows, and draws from many.
        group_names: what reports call the groups, by their number; without them they are numbered.
        may_repeat: different units may have equal inputs (patients in a coarse table), so that equal rows on both sides
            of the split are counted and are no leak.
    """

    title: str
    task: Task
    pool: Examples
    test: Examples
    preprocess: Mapping[str, Any]
    data_card: Mapping[str, Any]
    unit: str = "row"
    unlabeled: Inputs | None = None
    group_names: Sequence[str] = ()
    may_repeat: bool = False


@dataclass(frozen=True)
class SourceInfo:
    """A source model at hand, described without loading it."""

    name: str
    summary: str
    license: str
    citation: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Baseline(ABC):
    """What can be done without transfer: a model of the field, fitted on the labelled rows alone."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        """Fit on ``train``; predictions for each of ``others``, as ``task.decode`` gives them, float64.

        (n, classes) probabilities for classification. ``task`` is settled on ``train``.
        """

    def inference_cost(self) -> float:
        """Multiply-adds per row at inference, roughly; 0 where negligible. Asked after a fit."""
        return 0.0

    def parameters(self) -> int:
        """How many numbers the last fit learnt: a tie goes to the cheaper."""
        return 0


def title_of(file: Path, task: Task) -> str:
    """What reports call rows of a user's file: its name, and the task's first four labels, any of which may apply."""
    info = task.info()
    rest = f" and {len(info.labels) - 4} more" if len(info.labels) > 4 else ""
    if info.options.get("multi_label"):
        return f"{file.name}: any of {', '.join(info.labels[:4])}{rest}"
    return f"{file.name}: {' / '.join(info.labels[:4])}{rest}"


class Domain(ABC):
    """A field. One instance a run; holds no state."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[DomainOptions]] = DomainOptions
    default_labels: ClassVar[int | None] = None
    """``--labels`` of the demo; None takes all rows."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Configuration of every run, by dotted key (``train.epochs``), where the user gives none."""
    tasks: ClassVar[Mapping[str, str]] = {}
    """Demo tasks by name, with a line of description."""
    keeps_rows: ClassVar[bool] = True
    """False where a saved model must not hold training rows or their features (patients): kNN is then refused."""
    pretrains: ClassVar[bool] = False
    """True where :meth:`pretrain` makes a source model of the user's own data."""
    takes_data: ClassVar[bool] = True
    """False where the domain has its demo alone: ``--data`` is then refused."""
    takes_split: ClassVar[bool] = False
    """True where ``split``, ``val_data`` and ``test_data`` are heeded; else they are refused."""
    takes_sets: ClassVar[bool] = False
    """True where a row of the user's data may have any number of labels; else ``label_separator`` is refused."""
    least_count: ClassVar[int] = 1
    """Reports show no count of fewer rows than this, and above 1 no value of one row (11 is usual for patients)."""

    @classmethod
    def labels_by_default(cls, options: Mapping[str, Any]) -> int | None:
        """``--labels`` of the demo that ``options`` ask for, as far as they are given; :attr:`default_labels`."""
        return cls.default_labels

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the user's table says of columns and task that are not ``given``, by dotted key (``data.target``).

        Called before the configuration is settled, where ``path`` is there: see :mod:`tlplat.data.guess`. Guesses are
        shown with their origin, saved with the run, and yield to whatever the user gives. Default: none.
        """
        return {}

    def default_source(self, options: Any) -> str:
        """The source of a run that names none; the first of :meth:`sources`."""
        return self.sources()[0].name

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Refuse bad data of the user's before a source is loaded or pretrained; default: :meth:`target` finds out."""

    @abstractmethod
    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        """The target task, its rows encoded as ``source.preprocess`` says, checked, split."""

    @abstractmethod
    def sources(self) -> Sequence[SourceInfo]:
        """Source models at hand; the first is the default."""

    @abstractmethod
    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """Load or pretrain (and cache) the source; raises ModelError for an unknown or broken one."""

    def source_file(self, path: Path, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A file of the user's that is a source; default: :meth:`source` knows what to do with its path.

        For domains whose weights file says nothing of the rows that its network takes: ``data`` does.
        """
        return self.source(str(path), options, context)

    def need_source(self, name: str) -> SourceInfo:
        """The one of :meth:`sources` with this name; ModelError TL-MODEL-UNKNOWN says which there are."""
        known = {info.name: info for info in self.sources()}
        if name not in known:
            raise self.unknown_source(name)
        return known[name]

    def unknown_source(self, name: str, also: str = "a folder made by tlplat") -> ModelError:
        """ModelError TL-MODEL-UNKNOWN: ``name`` is none of :meth:`sources`, nor ``also``, which are taken besides."""
        known = [info.name for info in self.sources()]
        onnx = [] if type(self).intake is Domain.intake else ["an ONNX file"]
        return ModelError(
            "TL-MODEL-UNKNOWN",
            f"the domain {self.name} has no source model {name!r}{did_you_mean(name, known)}",
            found=name,
            expected=", ".join([*known, *onnx, also]),
            fix=f"choose one with --source (`tlplat sources --domain {self.name}` lists them); none comes from a hub",
        )

    def pretrain(self, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A source model trained on the user's labelled rows, for ``tlplat pretrain``; offered where ``pretrains``.

        Train it with :func:`tlplat.pretrain.pretrain`, on rows that are checked and split as the target's are.
        ``preprocess`` must let :meth:`target` and :meth:`encode` treat other rows as these were treated.
        """
        raise TypeError(f"the domain {self.name} pretrains no source")

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """How rows of this domain reach a network from outside of tlplat (an ONNX file), where they fit its input.

        Raises:
            ModelError TL-MODEL-INPUT: they do not, which is the default (:meth:`NetworkInput.misfit` makes the error).
        """
        raise network.misfit(
            self.name, "rows of its own making", f"choose another source (`tlplat sources --domain {self.name}`)"
        )

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """Labelled rows of the source, encoded as the target's are, for strategies that align the two; default: none.

        Targets number the source's own labels. A few thousand rows suffice.
        """
        return None

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """The field's classical baselines for this task."""
        return ()

    def detail(self, target: TargetTask, evidence: Evidence) -> Mapping[str, Any]:
        """What the field asks of a finalist's predictions of ``target.test``, beside the task's own closer look.

        ``charts`` and ``tables``, as :meth:`tlplat.tasks.base.Task.detail` gives them (JSON); default: none.
        """
        return {}

    @abstractmethod
    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        """Rows of a file for ``predict``: ids and inputs, in the file's order."""

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        """How encoded rows fall into pieces that people know, for ``tlplat explain``; default: nothing is known.

        Rows of a table are :class:`tlplat.pieces.Columns`. Where ``backbone`` may be another than the domain's own (an
        edit put a network beside it), let :meth:`Explainer.way` fall back to occlusion.
        """
        return None

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        """How a raw row becomes the numbers that the model takes, in words that suffice to write it again.

        It goes with every exported model, whose users have no tlplat; default: nothing is said.
        """
        return ""

    def parts(self, preprocess: Mapping[str, Any]) -> frozenset[str]:
        """Endings (``csv``, ``jsonl``, ``fasta``, ``parquet``) of files whose records :meth:`encode` takes one by one.

        ``predict`` reads large files of these kinds in parts, and streams as they come. A record without a name of its
        own must be called ``row N``, counted from 1. Default: none; rows of a time series, say, need those before them.
        """
        return frozenset()

    def assets(self) -> Sequence[Asset]:
        """Files that the demo fetches."""
        return ()


__all__ = [
    "Backbone",
    "Baseline",
    "DataOptions",
    "Domain",
    "DomainContext",
    "DomainOptions",
    "Explainer",
    "Intake",
    "NetworkInput",
    "SourceInfo",
    "TargetTask",
    "title_of",
]
