"""The genomics domain: tasks, sources, the user's data, baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from tlplat.assets import Asset
from tlplat.data.examples import Examples, Inputs
from tlplat.data.guess import input_and_target
from tlplat.data.sides import Sides, files_given, given_sides
from tlplat.domain import (
    Backbone,
    Baseline,
    DataOptions,
    Domain,
    DomainContext,
    DomainOptions,
    Explainer,
    Intake,
    NetworkInput,
    SourceInfo,
    TargetTask,
    title_of,
)
from tlplat.errors import ModelError, UsageError
from tlplat.model import SourceModel
from tlplat.modelio import load_source
from tlplat.tasks.classification import Classification
from tlplat_genomics import userdata
from tlplat_genomics.assets import ALL, ORGANISMS, TIARA_CITATION
from tlplat_genomics.baselines import KmerLogistic, OneHotLogistic, OpenFrameLogistic
from tlplat_genomics.checkpoint import load_checkpoint
from tlplat_genomics.demo import data_card, demo_genome, examples
from tlplat_genomics.labels import encode_rows
from tlplat_genomics.pieces import LONGEST, Bases, Stretches
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.sources import e_coli_windows, pretrained_on_e_coli, pretrained_on_rows, source_name
from tlplat_genomics.split import split_windows
from tlplat_genomics.strict import Limits
from tlplat_genomics.table import column_of_sequences
from tlplat_genomics.tiara import load_tiara
from tlplat_genomics.windows import WINDOWS

TEST_SHARE = 0.5
"""Half of the target organism's windows are test rows."""


class GenomicsOptions(DomainOptions):
    """Options of ``tlplat run --domain genomics``."""

    task: Literal["start-site", "coding"] = Field(
        "start-site", description="start codons against other ATGs, or coding against intergenic windows"
    )
    target_organism: Literal["s-aureus", "b-theta"] = Field("s-aureus", description="genome that the demo transfers to")
    backbone: Literal["auto", "cnn", "cnn-norm", "codon"] = Field(
        "auto",
        description="network pretrained on E. coli; auto: cnn for start-site, codon (six frames) for coding; "
        "cnn-norm has batch norm",
    )
    sequence: str = Field("sequence", description="column of sequences, where the data are a CSV")
    classes: int | None = Field(None, ge=2, description="number of classes, where labels are 0 to classes - 1")
    alphabet: Literal["dna"] = Field("dna", description="letters of the sequences")
    max_data_mb: int = Field(1024, ge=1, description="largest text, after decompression, that is read")


class GenomicsDomain(Domain):
    """Bacterial genomes, and the user's own DNA sequences."""

    name: ClassVar[str] = "genomics"
    summary: ClassVar[str] = "DNA sequences: start codons and coding regions from genome to genome, or your FASTA"
    Options: ClassVar[type[DomainOptions]] = GenomicsOptions
    default_labels: ClassVar[int | None] = 64
    pretrains: ClassVar[bool] = True
    takes_split: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True
    tasks: ClassVar[Mapping[str, str]] = {
        "start-site": "annotated ATG start codons against other ATGs, windows of 100 bases (default)",
        "coding": "coding against intergenic, windows of 200 bases of unknown frame and strand",
    }

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns of sequences and labels, where a table calls them otherwise."""
        return input_and_target(path, given, "options.sequence", "sequence", column_of_sequences)

    def sources(self) -> Sequence[SourceInfo]:
        organism = ORGANISMS["e-coli"]
        trained = "pretrained here on E. coli windows of the chosen task (a minute at most, then cached)"
        return [
            SourceInfo(
                "e-coli",
                trained,
                organism.fasta.license,
                organism.fasta.citation,
                {"backbone": "auto|cnn|cnn-norm|codon"},
            ),
            SourceInfo("tiara", "6-mer network pretrained on archaea to plastids (102 MB)", "MIT", TIARA_CITATION),
        ]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """A named source, or a folder that holds one.

        Raises:
            ModelError TL-MODEL-UNKNOWN: neither.
        """
        if name == "e-coli":
            return pretrained_on_e_coli(options.task, options.backbone, context)
        if name == "tiara":
            return load_tiara(context)
        if Path(name).is_dir():
            return _folder_source(Path(name))
        if Path(name).is_file():
            return load_checkpoint(Path(name), options.task)
        raise self.unknown_source(name)

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """Bases as whole numbers (A, C, G, T = 0..3, all others 4), in windows of the network's length."""
        length = network.shape[0] if len(network.shape) == 1 else None
        if not network.integers or length is None:
            given = (
                "windows of one length as whole numbers (A, C, G, T = 0..3, other = 4): (rows, length) uint8 or int64"
            )
            raise network.misfit(self.name, given, "put the encoding of bases into the network, and export it again")
        return Intake((length,), Preprocess(length).to_json())

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        preprocess = Preprocess.from_json(source.preprocess)
        if data.path is None:
            return self._demo(options, preprocess, source, context)
        rows, sides = _user_rows(options, data)
        task, targets = _labelled(rows, options, context, source.task.labels if source.task else ())
        settled = _settled(preprocess, max(map(len, rows.tokens)))
        split = userdata.split_rows(rows, sides, targets, settled, context.data_seed, names=task.labels)
        pool, test = userdata.as_examples(rows, targets, split, settled, sides)
        card = userdata.data_card(data.path, rows, split, settled, task, targets)
        if card["lengths"]["cropped_rows"]:
            context.warn(
                f"{card['lengths']['cropped_rows']} of {len(rows.ids)} sequences are longer than the source's window "
                f"of {settled.length} bases and are cropped to their middle"
            )
        title = title_of(data.path, task)
        saved = {**settled.to_json(), "sequence_column": options.sequence, "max_data_mb": options.max_data_mb}
        return TargetTask(title, task, pool, test, saved, card, "sequence cluster", unlabeled=pool.inputs)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Read and check the user's data, labels and split, before a source is loaded or pretrained."""
        if data.path is None:
            return
        rows, sides = _user_rows(options, data)
        task, targets = _labelled(rows, options, context)
        whole = Preprocess(max(map(len, rows.tokens)))
        userdata.split_rows(rows, sides, targets, whole, context.data_seed, names=task.labels)

    def _demo(self, options: Any, preprocess: Preprocess, source: SourceModel, context: DomainContext) -> TargetTask:
        make, labels, length = WINDOWS[options.task]
        settled = _settled(preprocess, length)
        if settled.length != length:
            raise UsageError(
                "TL-USAGE",
                f"the source {source.name} takes windows of {settled.length} bases, {options.task} has {length}",
                fix="choose a source that was trained for this task, or --source tiara",
            )
        genome = demo_genome(options.target_organism, context)
        windows = make(genome, context.data_seed)
        split = split_windows(windows, TEST_SHARE, context.data_seed)
        pool = examples(windows, split, ~split.test)
        return TargetTask(
            title=f"{options.task}: {source.name} -> {ORGANISMS[options.target_organism].title}",
            task=Classification(labels=labels),
            pool=pool,
            test=examples(windows, split, split.test),
            preprocess={**settled.to_json(), "task": options.task},
            data_card=data_card(genome, options.task, windows, split),
            unit="sequence cluster",
            unlabeled=pool.inputs,
        )

    def pretrain(self, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A network trained on the user's sequences; without data, the one of E. coli's windows."""
        if data.path is None:
            return pretrained_on_e_coli(options.task, options.backbone, context)
        rows, sides = _user_rows(options, data)
        task, targets = _labelled(rows, options, context)
        return pretrained_on_rows(data.path, rows, sides, targets, task, options.backbone, context)

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """E. coli's windows of the task, for a source that was pretrained on them and windows of that length."""
        length = WINDOWS[options.task][2]
        if source.name != source_name(options.task, options.backbone) or target.preprocess["length"] != length:
            return None
        return e_coli_windows(options.task, context)

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """k-mer and one-hot logistic regression; for coding also open reading frames."""
        coding = target.preprocess.get("task") == "coding"
        both_strands = target.preprocess.get("task") != "start-site"
        found: list[Baseline] = [KmerLogistic(both_strands), OneHotLogistic(both_strands)]
        return [*found, OpenFrameLogistic(both_strands)] if coding else found

    def parts(self, preprocess: Mapping[str, Any]) -> frozenset[str]:
        """Records stand alone."""
        return frozenset({"fasta", "fa", "fna"})

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        limits = _limits(preprocess.get("max_data_mb", 1024))
        column = preprocess.get("sequence_column", "sequence")
        rows = userdata.read_rows(path, DataOptions(path=path), column, limits)
        return rows.ids, Preprocess.from_json(preprocess).encode(rows.tokens)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        return Preprocess.from_json(preprocess).text()

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        """Bases, or stretches of them where windows are long."""
        return Bases() if preprocess["length"] <= LONGEST else Stretches()

    def assets(self) -> Sequence[Asset]:
        return ALL


def _limits(megabytes: int) -> Limits:
    return Limits(bytes=megabytes * 1_000_000)


def _user_rows(options: GenomicsOptions, data: DataOptions) -> tuple[userdata.Rows, Sides | None]:
    """The rows of all files, and the split that the user made, where there is one."""
    limits = _limits(options.max_data_mb)
    files = files_given(data)
    parts = [userdata.labelled_rows(path, data, options.sequence, limits) for path in files]
    rows = reduce(userdata.joined, parts)
    titles = data.split is not None and any(userdata.has_titles(path, limits) for path in files)
    sizes, kind = [len(part.ids) for part in parts], "field" if titles else "column"
    return rows, given_sides(data, sizes, rows.splits, rows.ids.__getitem__, kind)


def _labelled(
    rows: userdata.Rows, options: GenomicsOptions, context: DomainContext, known: Sequence[str] = ()
) -> tuple[Classification, Tensor]:
    """What the rows' labels ask, and the targets."""
    return encode_rows(rows.labels, rows.ids, rows.reader, context.warn, known, options.classes)


def _settled(preprocess: Preprocess, longest: int) -> Preprocess:
    """A source that takes any length gets windows of the data's longest."""
    return preprocess if preprocess.pad else Preprocess(min(preprocess.length, longest), pad=False)


def _folder_source(path: Path) -> SourceModel:
    if not (path / "source.json").exists():
        raise ModelError(
            "TL-MODEL-PATH",
            f"{path} holds no source model",
            where=str(path / "source.json"),
            fix="name a folder with source.json and its weights, as tlplat keeps them in the cache below sources/",
        )
    return load_source(path)
