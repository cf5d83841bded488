"""What every domain owes: :class:`DomainSuite`, over its demo or over data that the suite's fixtures name."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tlplat.attribution import attribute
from tlplat.config import RunConfig
from tlplat.data.examples import Examples, Inputs
from tlplat.data.quality import check_quality, row_digests
from tlplat.data.splits import folds
from tlplat.domain import DataOptions, Domain, DomainContext, TargetTask
from tlplat.errors import TlplatError
from tlplat.explanation import explain_run, publish
from tlplat.model import SourceModel, TransferModel
from tlplat.modelio import load_source, save_source
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.runner import run
from tlplat.testing.guards import no_network, state_untouched
from tlplat.testing.kit import built_in, check_installed
from tlplat.testing.lending import DomainFixtures, few_labelled
from tlplat.testing.workbench import Toybench
from tlplat.trial import BaselineCandidate, Rows

BROKEN = {
    "empty": b"",
    "noise": bytes(range(256)) * 8,
    "a line of zeros": b"\0" * 300 + b"\n",
    "unclosed": b'"a,b\n1,2\n',
}


class DomainSuite(DomainFixtures):
    """Subclass it with a fixture ``domain`` that returns an instance; pytest runs the checks.

    They run on the domain's demo. Where that needs a network or minutes, let the fixtures ``data``, ``options`` and
    ``source_name`` name data of your own; ``sample`` a file that ``encode`` reads.
    """

    def test_is_what_is_installed(self, domain: Domain) -> None:
        """`pip install` makes it known by its name."""
        check_installed("domains", type(domain))

    def test_says_what_it_is(self, domain: Domain) -> None:
        """Name and summary; every option is explained; every source has a licence and a citation."""
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", domain.name)
        assert domain.summary.strip()
        unexplained = [name for name, info in domain.Options.model_fields.items() if not info.description]
        assert not unexplained, f"options without a description: {', '.join(unexplained)}"
        assert domain.sources()
        for info in domain.sources():
            assert info.name.strip()
            assert info.summary.strip()
            assert info.license.strip()
            assert info.citation.strip()
        for asset in domain.assets():
            assert asset.license.strip()
            assert asset.citation.strip()

    def test_source_says_where_it_comes_from(self, source: SourceModel, registry: Registry, tmp_path: Path) -> None:
        """It is built from a registered factory, survives saving, and names its licence and citation."""
        missing = {"license", "citation"} - source.provenance.keys()
        assert not missing, f"the source's provenance lacks {', '.join(sorted(missing))}"
        save_source(tmp_path / "kept", source)
        again = load_source(tmp_path / "kept")
        assert all(torch.equal(again.state[name], tensor) for name, tensor in source.state.items())
        assert again.preprocess == json.loads(json.dumps(source.preprocess)) == dict(source.preprocess)
        backbone = source.build(registry)
        assert backbone.config() == json.loads(json.dumps(dict(backbone.config())))
        if source.head is not None:
            assert source.task is not None, "a source with a head says what the head predicts"
            assert source.head["weight"].shape == (source.task.outputs, backbone.feature_dim)

    def test_an_unknown_source_is_refused(self, domain: Domain, options: Any, context: DomainContext) -> None:
        """With an error that names it."""
        with pytest.raises(TlplatError) as caught:
            domain.source("no-such-source", options, context)
        assert "no-such-source" in str(caught.value)

    def test_splits_are_disjoint_and_covering(self, target: TargetTask) -> None:
        """No id, input or group on both sides; every class on both; folds keep groups and time, and part the rows."""
        pool, test = target.pool, target.test
        for part in (pool, test):
            assert len(set(part.ids)) == len(part), "ids must tell rows apart"
        assert not set(pool.ids) & set(test.ids)
        labelled = few_labelled(target)
        check_quality(labelled, test, target.task, may_repeat=target.may_repeat)
        shared = set(row_digests(pool.inputs)) & set(row_digests(test.inputs))
        assert target.may_repeat or not shared, f"{len(shared)} inputs are in the pool and among the test rows"
        if pool.groups is not None and test.groups is not None:
            assert not set(pool.groups.tolist()) & set(test.groups.tolist())
        strata = [_strata(target.task.strata(part.targets)) for part in (pool, test)]
        assert strata[0] == strata[1], f"classes of the pool {strata[0]}, of the test rows {strata[1]}"
        _check_folds(labelled, target)

    def test_the_same_seed_gives_the_same_rows(
        self,
        domain: Domain,
        source: SourceModel,
        target: TargetTask,
        options: Any,
        data: DataOptions,
        context: DomainContext,
    ) -> None:
        """A second call gives the same split, and takes no network."""
        offline = dataclasses.replace(context, offline=True, warnings=[])
        with state_untouched(domain.name), no_network():
            again = domain.target(options, data, source, offline)
        for part, same in ((target.pool, again.pool), (target.test, again.test)):
            assert list(part.ids) == list(same.ids)
            assert torch.equal(part.targets, same.targets)
            assert part.inputs.digest() == same.inputs.digest()

    def test_the_same_source_again_takes_no_network(
        self, domain: Domain, source_name: str, source: SourceModel, options: Any, context: DomainContext
    ) -> None:
        """What was fetched or pretrained is in the cache; a second call gives the same weights."""
        offline = dataclasses.replace(context, offline=True)
        with state_untouched(domain.name), no_network():
            again = domain.source(source_name, options, offline)
        assert all(torch.equal(again.state[name], tensor) for name, tensor in source.state.items())

    def test_says_what_the_data_are(self, target: TargetTask) -> None:
        """Title, data card and preprocessing are there, and JSON."""
        assert target.title.strip()
        assert target.unit.strip()
        assert target.data_card, "the data card says where the data come from and how they are split"
        assert json.loads(json.dumps(target.preprocess)) == dict(target.preprocess)
        json.dumps(dict(target.data_card))

    def test_rows_can_be_taken_in_any_order(self, target: TargetTask) -> None:
        """``take`` and ``select`` agree, with repeats and with none; equal rows have equal digests."""
        index = torch.tensor([2, 0, 2, 1])
        for inputs in (target.pool.inputs, target.test.inputs):
            taken, whole = _parts(inputs, index), _parts(inputs, torch.arange(3))
            for name, part in taken.items():
                assert torch.equal(part, whole[name][index])
            selected = inputs.select(index)
            assert len(selected) == 4
            assert all(torch.equal(part, taken[name]) for name, part in _parts(selected, torch.arange(4)).items())
            assert selected.digest() == inputs.select(index).digest() != inputs.select(index + 1).digest()
            assert all(len(part) == 0 for part in _parts(inputs, torch.arange(0)).values())

    def test_a_row_alone_is_a_row_among_others(self, target: TargetTask, bench: Toybench) -> None:
        """The backbone's features are finite, and a row's do not depend on its neighbours."""
        backbone = bench.bench.store.backbone(bench.source)
        with torch.no_grad():
            many = backbone(target.test.inputs.take(torch.arange(4)))
            single = torch.cat([backbone(target.test.inputs.take(torch.tensor([i]))) for i in range(4)])
        assert many.shape == (4, backbone.feature_dim)
        assert torch.isfinite(many).all()
        torch.testing.assert_close(single, many, atol=1e-5, rtol=1e-4)

    def test_baselines_predict(self, domain: Domain, target: TargetTask, bench: Toybench) -> None:
        """Each classical baseline gives finite predictions of the right shape, the same ones for the same seed."""
        rows, test = Rows.all(bench.labelled), Rows.all(target.test)
        for baseline in domain.baselines(target):
            assert baseline.name.strip()
            assert baseline.summary.strip()
            with state_untouched(baseline.name), no_network():
                found = BaselineCandidate(baseline).run(bench.bench, rows, [test], 0).predictions[0]
            assert np.isfinite(found).all()
            np.testing.assert_array_equal(
                found, BaselineCandidate(baseline).run(bench.bench, rows, [test], 0).predictions[0]
            )

    def test_source_rows_fit_the_source(
        self, domain: Domain, source: SourceModel, target: TargetTask, options: Any, context: DomainContext
    ) -> None:
        """Labelled rows of the source, where lent, are encoded as the target's are."""
        lent = domain.source_rows(source, options, target, context)
        if lent is None:
            pytest.skip("the domain lends no labelled rows of the source")
        few = torch.arange(min(2, len(lent)))
        ours, theirs = _parts(target.pool.inputs, few), _parts(lent.inputs, few)
        assert {k: (v.dtype, v.shape[1:]) for k, v in ours.items()} == {
            k: (v.dtype, v.shape[1:]) for k, v in theirs.items()
        }

    def test_encode_keeps_the_order(
        self, domain: Domain, sample: Path | None, target: TargetTask, context: DomainContext
    ) -> None:
        """``predict`` gets an id for each row of a file, in the file's order, encoded as the target was."""
        if sample is None:
            pytest.skip("the suite names no file: give it a fixture `sample`")
        ids, inputs = domain.encode(sample, target.preprocess, context)
        assert len(ids) == len(inputs) > 0
        again = domain.encode(sample, json.loads(json.dumps(dict(target.preprocess))), context)
        assert list(again[0]) == list(ids)
        assert again[1].digest() == inputs.digest()

    @pytest.mark.parametrize("case", [*BROKEN, "missing", "a folder"])
    def test_broken_files_are_refused(
        self, domain: Domain, target: TargetTask, context: DomainContext, tmp_path: Path, case: str
    ) -> None:
        """A file that holds nothing or noise, or is none, ends in an error of tlplat that names it."""
        path = tmp_path / "broken"
        if case == "a folder":
            path.mkdir()
        elif case != "missing":
            path.write_bytes(BROKEN[case])
        with pytest.raises(TlplatError) as caught:
            domain.encode(path, target.preprocess, context)
        assert caught.value.exit_code in (2, 3)

    def test_its_rows_can_be_explained(self, domain: Domain, target: TargetTask, bench: Toybench) -> None:
        """Each row has as many pieces as attributions, with names; nothing of the model is changed."""
        backbone = bench.source.build(bench.bench.registry)
        explainer = domain.explainer(target.preprocess, backbone)
        if explainer is None:
            pytest.skip("the domain does not say how its rows fall into pieces")
        pytest.importorskip("captum", reason="explanations need tlplat[explain]")
        model = TransferModel(backbone, target.task.head(backbone.feature_dim)).eval()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        inputs = target.test.inputs.select(torch.arange(3))
        found = attribute(model, target.task, explainer, inputs)
        assert torch.isfinite(found.values).all()
        assert found.values.abs().sum() > 0, "no piece adds anything to any decision"
        count = found.values.shape[1]
        texts = explainer.texts(inputs.take(torch.arange(3)))
        assert [len(row) for row in texts] == [count] * 3
        assert len(explainer.places(count)) == count
        if found.gap is not None:
            assert found.gap < 0.1, "the parts of a row do not add up to its whole"
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    @pytest.mark.parametrize("name", built_in("strategies"))
    def test_serves_the_strategy(self, bench: Toybench, name: str) -> None:
        """Every strategy of tlplat's own trains on it, or says why it cannot."""
        candidate = bench.candidate(name)
        reason = bench.unfit(candidate.strategy)
        if reason is not None:
            pytest.skip(reason)
        found = candidate.run(bench.bench, Rows.all(bench.labelled), [Rows.all(bench.target.test)], 0)
        assert np.isfinite(found.predictions[0]).all()

    def test_a_whole_run(
        self,
        domain: Domain,
        source: SourceModel,
        source_name: str,
        options: Any,
        data: DataOptions,
        context: DomainContext,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`tlplat run`, short, and `tlplat explain`: it ends with a verdict, a model and, of patients, no row shown."""
        monkeypatch.setenv("TLPLAT_CACHE_DIR", str(context.cache))
        monkeypatch.chdir(tmp_path)
        given = {key: os.fspath(v) if isinstance(v, Path) else v for key, v in vars(data).items() if v is not None}
        config = RunConfig.model_validate(
            {
                "domain": domain.name,
                "source": source_name,
                "strategies": ("linear_probe", "full_ft"),
                "seeds": 2,
                "jobs": 1,
                "threads": 1,
                "labels": len(few_labelled(self.once("target", lambda: domain.target(options, data, source, context)))),
                "data": given,
                "options": options.model_dump(mode="json", exclude_unset=True),
                "train": {"steps": 4, "learning_rate": 1e-3},
                "out": tmp_path / "run",
            }
        )
        report = run(config, context.registry, Reporter()).report
        assert report["verdict"]["outcome"] in ("helps", "ties", "hurts")
        assert (tmp_path / "run" / "model" / "manifest.json").exists()
        if find_spec("captum") is not None:
            publish(tmp_path / "run", explain_run(tmp_path / "run", 1, Reporter()))
            shown = json.loads((tmp_path / "run" / "report" / "report.json").read_text())["explanation"]["shown"]
            assert len(shown) <= (1 if domain.keeps_rows and domain.least_count == 1 else 0)


def _check_folds(labelled: Examples, target: TargetTask) -> None:
    parts = folds(labelled, 0, target.task)
    for fold in parts:
        inside, held = set(fold.train.tolist()), set(fold.validation.tolist())
        assert not inside & held
        if labelled.spans is None:
            assert inside | held == set(range(len(labelled)))
        else:  # rows that overlap in time with a validation row are left out of training
            train, validation = labelled.spans[fold.train], labelled.spans[fold.validation]
            assert bool(((train[:, 1] < validation[:, 0].min()) | (train[:, 0] > validation[:, 1].max())).all())
        if labelled.groups is not None:
            assert not set(labelled.groups[fold.train].tolist()) & set(labelled.groups[fold.validation].tolist())


def _strata(strata: Tensor) -> set[int]:
    """Those that a row is of."""
    return set(strata.tolist()) if strata.ndim == 1 else set(torch.nonzero(strata.any(dim=0)).flatten().tolist())


def _parts(inputs: Inputs, index: Tensor) -> Mapping[str, Tensor]:
    taken = inputs.take(index)
    return {"": taken} if isinstance(taken, Tensor) else taken
