"""The domain on the user's files and on the demo's genomes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tlplat_genomics import assets, demo
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.domain import GenomicsDomain, GenomicsOptions
from tlplat_genomics.preprocess import Preprocess

from tlplat.data.quality import check_quality
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions
from tlplat.errors import DataError, ModelError, TlplatError, UsageError
from tlplat.model import SourceModel
from tlplat.modelio import save_source
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification

DOMAIN = GenomicsDomain()


@pytest.fixture
def source() -> SourceModel:
    """An untrained source of the start-site task."""
    torch.manual_seed(0)
    backbone, labels = StrandedCnn(), ("decoy", "start")
    head = torch.nn.Linear(backbone.feature_dim, 2).state_dict()
    task = Classification(labels=labels).info()
    base = Ref(StrandedCnn.name, backbone.config())
    return SourceModel("toy", base, backbone.state_dict(), head, task, Preprocess(100).to_json(), {})


@pytest.fixture
def fasta(dna) -> str:
    return "".join(f">s{i} label={'start' if i % 2 else 'decoy'}\n{dna(90 + i % 20)}\n" for i in range(40))


def target(source, context, path, labels_from="header", **options):
    chosen = GenomicsOptions(**options)
    data = DataOptions(path=path, labels_from=labels_from)
    DOMAIN.check(chosen, data, context)
    return DOMAIN.target(chosen, data, source, context)


def test_fasta_with_labels_in_titles(source, context, write, fasta):
    found = target(source, context, write("train.fasta", fasta))
    assert found.task.labels == source.task.labels
    assert len(found.pool) + len(found.test) == 40
    assert 0.3 < len(found.test) / 40 < 0.7
    assert found.pool.inputs.tensor.shape[1] == 100
    both = {**dict(zip(found.pool.ids, found.pool.targets.tolist(), strict=True))}
    both |= dict(zip(found.test.ids, found.test.targets.tolist(), strict=True))
    assert both == {f"s{i}": i % 2 for i in range(40)}
    lengths = found.data_card["lengths"]
    assert (lengths["cropped_rows"], lengths["padded_rows"]) == (18, 20)
    assert any("cropped" in w for w in context.warnings)
    check_quality(draw_labels(found.pool, 16, 0, found.task), found.test, found.task)
    again = target(source, context, write("train.fasta", fasta))
    assert again.test.ids == found.test.ids


def test_same_rows_from_every_format(source, context, write, fasta):
    titles, letters = fasta.splitlines()[::2], fasta.splitlines()[1::2]
    names = [t[1:].split()[0] for t in titles]
    labels = [t.split("=")[1] for t in titles]
    pairs = list(zip(names, labels, letters, strict=True))
    table = write("labels.csv", "id,label\n" + "".join(f"{n},{y}\n" for n, y, _ in reversed(pairs)))
    csv = write("t.csv", "id,label,sequence\n" + "".join(f"{n},{y},{s}\n" for n, y, s in pairs))
    fastq = write("t.fq", "".join(f"@{n}\n{s}\n+\n{'I' * len(s)}\n" for n, _, s in pairs))
    wanted = target(source, context, write("t.fa", fasta))
    for path, labels_from in ((fastq, str(table)), (write("u.fa", fasta), str(table)), (csv, None), (csv, "label")):
        found = target(source, context, path, labels_from)
        assert found.pool.ids == wanted.pool.ids
        assert torch.equal(found.pool.targets, wanted.pool.targets)
        assert torch.equal(found.test.inputs.tensor, wanted.test.inputs.tensor)


def test_columns_by_name(source, context, write, dna):
    text = "dna,kind,family\n" + "".join(f"{dna(80)},{'ab'[i % 2]},{i // 4}\n" for i in range(40))
    data = DataOptions(path=write("t.csv", text), target="kind", group="family")
    found = DOMAIN.target(GenomicsOptions(sequence="dna"), data, source, context)
    assert found.task.labels == ("a", "b")
    families = [{int(name.split()[1]) // 4 for name in part.ids} for part in (found.pool, found.test)]
    assert found.pool.ids[0].startswith("line ")
    lines = [{(int(name.split()[1]) - 2) // 4 for name in part.ids} for part in (found.pool, found.test)]
    assert not lines[0] & lines[1]
    assert families
    path = write("u.csv", "dna\nACGTACGTAC\n")
    ids, inputs = DOMAIN.encode(path, found.preprocess, context)
    assert (list(ids), len(inputs)) == (["line 2"], 1)


def test_predict_keeps_order(context, write):
    ids, inputs = DOMAIN.encode(write("p.fa", ">b\nACGT\n>a\nGGGG\n"), Preprocess(6).to_json(), context)
    assert list(ids) == ["b", "a"]
    assert inputs.take(torch.arange(2)).tolist() == [[4, 0, 1, 2, 3, 4], [4, 2, 2, 2, 2, 4]]


def test_homolog_between_given_files(source, context, write, dna):
    base = dna(100)
    copy = "".join("ACGT"[("ACGT".index(c) + 1) % 4] if i % 20 == 3 else c for i, c in enumerate(base))
    train = "".join(f">t{i} {'ab'[i % 2]}\n{base if i == 0 else dna(100)}\n" for i in range(10))
    test = "".join(f">u{i} {'ab'[i % 2]}\n{copy if i == 0 else dna(100)}\n" for i in range(10))
    data = DataOptions(write("train.fa", train), labels_from="header", test_data=write("test.fa", test))
    with pytest.raises(DataError) as caught:
        DOMAIN.check(GenomicsOptions(), data, context)
    assert caught.value.code == "TL-LEAK-HOMOLOG"
    assert "95.0% identity" in str(caught.value)
    data = dataclasses.replace(data, test_data=write("test.fa", test.replace(copy, dna(100))))
    found = DOMAIN.target(GenomicsOptions(), data, source, context)
    assert found.test.ids == [f"u{i}" for i in range(10)]


def test_a_split_in_titles_and_in_a_column(source, context, write, dna):
    sides = ["train"] * 8 + ["val"] * 4 + ["test"] * 6
    titles = "".join(f">s{i} label={'ab'[i % 2]} fold={side}\n{dna(100)}\n" for i, side in enumerate(sides))
    lines = "".join(f"s{i},{dna(100)},{'ab'[i % 2]},{side}\n" for i, side in enumerate(sides))
    for path in (write("a.fa", titles), write("a.csv", "id,sequence,label,fold\n" + lines)):
        labels = "header" if path.suffix == ".fa" else None
        found = DOMAIN.target(GenomicsOptions(), DataOptions(path, labels, split="fold"), source, context)
        assert found.test.ids == [f"s{i}" for i in range(12, 18)]
        assert found.pool.validation.tolist() == [False] * 8 + [True] * 4
    unmarked = DataOptions(write("b.fa", titles.replace("fold=", "part=")), "header", split="fold")
    with pytest.raises(DataError, match="a field 'fold' of their titles"):
        DOMAIN.check(GenomicsOptions(), unmarked, context)


def test_near_copies_never_part(source, context, write, dna):
    text = ""
    for i in range(20):
        base = dna(100)
        copy = ("C" if base[0] != "C" else "G") + base[1:]
        text += f">a{i} {'xy'[i % 2]}\n{base}\n>b{i} {'xy'[i % 2]}\n{copy}\n"
    found = target(source, context, write("t.fa", text))
    sides = [{name[1:] for name in part.ids} for part in (found.pool, found.test)]
    assert not sides[0] & sides[1]
    assert found.data_card["split"]["near_copies_kept_together"] == 20


def test_equal_after_cropping_stay_together(source, context, write, dna):
    middles = [dna(100) for _ in range(20)]
    text = "".join(
        f">{side}{i} {'xy'[i % 2]}\n{dna(150)}{m}{dna(150)}\n" for i, m in enumerate(middles) for side in "ab"
    )
    found = target(source, context, write("t.fa", text))
    sides = [{name[1:] for name in part.ids} for part in (found.pool, found.test)]
    assert not sides[0] & sides[1]
    check_quality(found.pool, found.test, found.task)


@pytest.mark.parametrize(
    ("name", "text", "labels_from", "code", "words"),
    [
        ("a.fa", ">a\nAC!@#9Z", "header", "TL-DATA-FASTA", ["position", "IUPAC"]),
        ("a.fa", ">a x\nMKVLAAGIVGLLLAQ\n", "header", "TL-DATA-ALPHABET", ["protein"]),
        ("a.fq", "@a\nACGT\n+\nII\n", "header", "TL-DATA-FASTQ", ["record", "quality"]),
        ("a.fq", "@a x\nACGT\n+\nhhhh\n", "header", "TL-DATA-FASTQ", ["Phred+64"]),
        ("a.gb", "hello", "header", "TL-DATA-GENBANK", ["0 records"]),
        ("a.fa.gz", b"\x1f\x8b\x08\x00broken", "header", "TL-DATA-READ", ["gzip"]),
        ("a.fa", ">a x\nACGT\n>b\nACGT\n", "header", "TL-DATA-LABEL-MISSING", ["1 of 2", "b"]),
        ("a.fa", ">a x\nACGTACGT\n>b x\nACGAACGA\n", "header", "TL-DATA-ONE-CLASS", ["two classes"]),
        ("a.fa", ">a 0.0\nACGTACGT\n>b 1.5\nACGAACGA\n", "header", "TL-DATA-LABEL-TYPE", ["1.5", "integer"]),
        ("a.csv", "seq,label\nACGT,a\n", None, "TL-DATA-COLUMN", ["sequence", "seq"]),
        ("a.csv", "sequence,label\nACGT,a\nACXT,b\n", None, "TL-DATA-FASTA", ["line 3", "position 3"]),
        ("a.fa", ">a x\nACGT\n>b y\nACGT\n", "none.csv", "TL-DATA-READ", ["none.csv"]),
        ("a.fa", ">a x\nACGTACGT\n>b y\nGGGTTCGA\n", None, "TL-USAGE", ["--labels-from"]),
        ("a.fa", ">a x\nACGTACGT\n>b y\nGGGTTCGA\n", "header", "TL-DATA-CLASS-SMALL", ["cluster"]),
    ],
)
def test_bad_files(context, write, name, text, labels_from, code, words):
    path = write(name, text)
    with pytest.raises(TlplatError) as caught:
        DOMAIN.check(GenomicsOptions(), DataOptions(path=path, labels_from=labels_from), context)
    assert caught.value.code == code
    assert all(word in str(caught.value) for word in words)


def test_size_limit_is_an_option(context, write, dna):
    path = write("a.fa", f">a x\n{dna(1_100_000)}\n")
    with pytest.raises(DataError) as caught:
        DOMAIN.check(GenomicsOptions(max_data_mb=1), DataOptions(path=path, labels_from="header"), context)
    assert caught.value.code == "TL-DATA-TOO-BIG"


def test_declared_classes(context, write, dna):
    path = write("a.fa", "".join(f">s{i} {i % 10}\n{dna(50)}\n" for i in range(20)))
    with pytest.raises(DataError) as caught:
        DOMAIN.check(GenomicsOptions(classes=9), DataOptions(path=path, labels_from="header"), context)
    assert caught.value.code == "TL-DATA-LABEL-RANGE"
    assert "[0, 9)" in str(caught.value)


def test_options_are_strict(context):
    with pytest.raises(ValidationError):
        GenomicsOptions(target_organism="yeast")
    with pytest.raises(ValidationError):
        GenomicsOptions(organism="s-aureus")


def test_sources_by_name_and_folder(source, context, tmp_path):
    assert DOMAIN.sources()[0].name == "e-coli"
    with pytest.raises(ModelError, match="did you mean 'tiara'"):
        DOMAIN.source("tiarra", GenomicsOptions(), context)
    with pytest.raises(ModelError) as caught:
        DOMAIN.source(str(tmp_path), GenomicsOptions(), context)
    assert caught.value.code == "TL-MODEL-PATH"
    save_source(tmp_path / "kept", source)
    assert DOMAIN.source(str(tmp_path / "kept"), GenomicsOptions(), context).name == "toy"


def test_a_source_of_other_windows_is_refused(source, context):
    with pytest.raises(UsageError, match="windows of 100"):
        DOMAIN.target(GenomicsOptions(task="coding"), DataOptions(), source, context)


@pytest.fixture
def synthetic(monkeypatch, genome_text, write):
    """The demo's organisms replaced by synthetic genomes of 120 genes."""
    from tlplat_genomics.genome import load_genome

    texts = {name: genome_text(120) for name in assets.ORGANISMS}
    genomes = {n: load_genome(n, write(f"{n}.fna", f), write(f"{n}.gff", g)) for n, (f, g) in texts.items()}
    for module in ("demo", "sources", "domain"):
        monkeypatch.setattr(f"tlplat_genomics.{module}.demo_genome", lambda name, context: genomes[name])
    assert demo.demo_genome("e-coli", None) is genomes["e-coli"]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "backbone"), [("start-site", "auto"), ("coding", "auto"), ("coding", "cnn")])
def test_demo_on_synthetic_genomes(synthetic, context, registry, monkeypatch, task, backbone):
    from tlplat_genomics import sources

    short = {k: sources.Recipe(r.base, 30, 32, r.learning_rate, r.copies) for k, r in sources.RECIPES.items()}
    monkeypatch.setattr(sources, "RECIPES", short)
    options = GenomicsOptions(task=task, backbone=backbone)
    source = DOMAIN.source("e-coli", options, context)
    again = DOMAIN.source("e-coli", options, context)
    assert all(torch.equal(source.state[k], again.state[k]) for k in source.state)
    found = DOMAIN.target(options, DataOptions(), source, context)
    assert source.task.labels == found.task.labels
    assert found.unit == "sequence cluster"
    assert torch.equal(found.test.units, found.test.groups)
    assert found.data_card["split"]["near_copies_across_the_split"] == 0
    assert not set(found.pool.groups.tolist()) & set(found.test.groups.tolist())
    names = [b.name for b in DOMAIN.baselines(found)]
    assert names == ["kmer_logistic", "onehot_logistic", *(["orf_logistic"] if task == "coding" else [])]
    labelled = draw_labels(found.pool, 32, 0, found.task)
    check_quality(labelled, found.test, found.task)
    for baseline in DOMAIN.baselines(found):
        assert np.isfinite(baseline.fit_predict(labelled, [found.test.inputs], found.task, 0)[0]).all()
    assert source.build(registry)(found.test.inputs.take(torch.arange(3))).shape[0] == 3


@pytest.mark.network
@pytest.mark.slow
def test_real_genomes(real_context):
    """Counts of the real annotations, and zero-shot transfer from E. coli to S. aureus."""
    from tlplat.features import apply_in_batches
    from tlplat.model import TransferModel

    genome = demo.demo_genome("e-coli", real_context)
    assert genome.length == 4_641_652
    assert len(genome.annotation.cds) == 4357
    options = GenomicsOptions()
    source = DOMAIN.source("e-coli", options, real_context)
    found = DOMAIN.target(options, DataOptions(), source, real_context)
    assert len(found.test) > 1500
    backbone = source.build(real_context.registry)
    head = torch.nn.Linear(backbone.feature_dim, 2)
    head.load_state_dict(dict(source.head))
    model = TransferModel(backbone, head)
    decoded = found.task.decode(apply_in_batches(model, model, found.test.inputs))
    assert found.task.metrics[0](found.test.targets.numpy(), decoded)[0] > 0.92


def test_a_source_of_the_users_own_sequences(context, write, dna):
    """Trained on motif against none, it knows the motif in other sequences, which are encoded as its own were."""

    def labelled(count, prefix):
        motif = "TTGACATATAAT"
        windows = [dna(24) + (motif if i % 2 else dna(12)) + dna(24) for i in range(count)]
        return "".join(f">{prefix}{i} label={'yes' if i % 2 else 'no'}\n{w}\n" for i, w in enumerate(windows))

    data = DataOptions(path=write("old.fasta", labelled(160, "o")), labels_from="header")
    made = DOMAIN.pretrain(GenomicsOptions(), data, context)
    assert made.name == "old"
    assert made.preprocess["length"] == 60
    assert made.provenance["validation"]["auroc"] > 0.9
    assert made.provenance["rows"] > 120
    found = target(made, context, write("new.fasta", labelled(60, "n")))
    assert found.task.labels == made.task.labels
    assert found.pool.inputs.tensor.shape[1] == 60
