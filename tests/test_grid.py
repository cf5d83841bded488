"""Every task: which strategies serve it, that transfer pays on it, what its fits may see, and whole runs."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from tlplat import plugins
from tlplat.batches import Gradients
from tlplat.cli.predict import text_chunks
from tlplat.config import RunConfig
from tlplat.errors import ResourceError
from tlplat.model import BackboneInfo, TransferModel
from tlplat.prediction import predict
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.runner import run
from tlplat.stage import load_registry, rank
from tlplat.testing import varied
from tlplat.testing.workbench import Toybench, toybench
from tlplat.trial import Rows, Trivial

STEPS = 8
UNFIT = {
    "labels": {"pulled_probe"},
    **{kind: {"prototype", "pulled_probe", "self_training"} for kind in varied.KINDS if kind != "labels"},
}
"""Strategies that need what a task of the kind does not offer: probabilities of labels, a head to be pulled to."""


@pytest.fixture(autouse=True)
def varied_site(site, shared_cache, monkeypatch):
    """The domain as an installed distribution, and a cache in which each source is pretrained once."""
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(shared_cache))
    site.add(
        "tlplat-varied",
        "from tlplat.testing.varied import tlplat_register_backbones, tlplat_register_domains",
        group="domains",
        name="varied",
        module="tlplat_varied",
    )


@pytest.fixture
def registry(varied_site) -> Registry:
    made = plugins.load("domains", ["varied"])
    plugins.load("strategies", None, made)
    return plugins.load("tasks", None, made)


def bench_of(registry, kind: str, steps: int = STEPS, labels: int = 80) -> Toybench:
    return toybench(registry, labels=labels, steps=steps, domain="varied", predict=kind)


def fitting(bench: Toybench) -> dict[str, str | None]:
    """Each strategy with why it does not fit, or None."""
    rows = Rows.all(bench.labelled)
    info = BackboneInfo.of(bench.bench.store.backbone(bench.source), True, rows.example())
    names = bench.bench.registry.names("strategies")
    get = bench.bench.registry.get
    return {name: get("strategies", name)().unfit(bench.bench.task_info, info) for name in names}


def test_every_built_in_task_is_on_the_grid(registry):
    names = ["classification", "forecasting", "regression", "retrieval", "survival", "treatment"]
    assert registry.names("tasks") == names
    assert sorted({varied.make_task(kind).name for kind in varied.KINDS}) == names


@pytest.mark.parametrize("kind", varied.KINDS)
def test_every_strategy_serves_every_task_that_offers_what_it_needs(registry, kind):
    """Which ones do not; that the others work is what each strategy's own conformance suite finds out."""
    assert {name for name, why in fitting(bench_of(registry, kind)).items() if why} == UNFIT[kind]


@pytest.mark.parametrize("kind", varied.KINDS)
def test_transfer_beats_the_trivial_baseline(registry, kind):
    bench = bench_of(registry, kind, steps=60)
    task, test = bench.target.task, bench.target.test
    metric, targets = task.metrics[0], test.targets.numpy()
    flat = Trivial(task).fit_predict(bench.labelled, [test.inputs], task, 0)[0]
    sign = 1 if metric.higher_is_better else -1
    for name in ("zero_shot", "linear_probe", "full_ft"):
        score = metric(targets, bench.run(name).predictions[0])[0]
        assert sign * score > sign * metric(targets, flat)[0], name


@pytest.mark.parametrize("kind", varied.KINDS)
@pytest.mark.parametrize("name", ["linear_probe", "full_ft"])
def test_nothing_is_learnt_from_the_targets_of_other_rows(registry, kind, name):
    """Scale, baseline hazard, nuisances, head and weights: the same whatever the rows that a fold leaves out say."""
    bench = bench_of(registry, kind)
    rows = Rows(bench.labelled, torch.arange(0, 60))
    held = Rows(bench.labelled, torch.arange(60, 80))
    other = bench.labelled.targets.clone()
    other[60:] = other[60:].flip(0) if kind in ("labels", "retrieval") else other[60:] * 1.5
    turned = dataclasses.replace(bench.labelled, targets=other)
    one = bench.candidate(name).run(bench.bench, rows, [held], 0, validation=held)
    two = bench.candidate(name).run(
        bench.bench, Rows(turned, rows.index), [held], 0, validation=Rows(turned, held.index)
    )
    np.testing.assert_array_equal(one.predictions[0], two.predictions[0])
    assert one.task.info() == two.task.info()
    assert not torch.equal(other, bench.labelled.targets)


@pytest.mark.parametrize("kind", varied.KINDS)
def test_sources_are_ranked_by_a_probe_and_their_own_head(registry, kind):
    config = RunConfig.model_validate({"domain": "varied", "threads": 1, "options": {"predict": kind}})
    found = rank(config, load_registry(config), Reporter())["sources"][0]
    assert all(np.isfinite(found["scores"][name]) for name in ("probe", "zero_shot", "log_me")), found
    assert (found["scores"]["n_leep"] is None) is (kind != "retrieval")


@pytest.mark.parametrize("kind", ["cox", "retrieval"])
def test_a_step_on_a_set_is_never_split_and_running_out_of_memory_ends_it(registry, kind):
    bench = bench_of(registry, kind)
    task = bench.target.task.settled(bench.labelled.targets)
    model = TransferModel(bench.source.build(registry), task.head(16)).eval()
    index = torch.arange(64)
    loss = Gradients(model, task, "float32", 4, print).compute(index, bench.labelled, [], 0)
    found = model.head.weight.grad.clone()
    model.zero_grad()
    whole = task.loss(model(bench.labelled.inputs.take(index)), bench.labelled.targets[index])
    whole.backward()
    assert loss == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(found, model.head.weight.grad)

    class Full(type(task)):
        def loss(self, outputs, targets):
            raise MemoryError

    with pytest.raises(ResourceError, match=r"TL-OOM.*a loss over a set") as error:
        Gradients(model, Full(**task.info().options), "float32", 1, print).compute(index, bench.labelled, [], 0)
    assert error.value.exit_code == 6


@pytest.mark.parametrize("kind", ["number", "cox", "dr_learner"])
def test_scratch_uses_nothing_of_the_source(registry, kind):
    bench, other = bench_of(registry, kind), bench_of(registry, kind)
    wrong = {k: torch.zeros_like(v) if v.is_floating_point() else v for k, v in other.source.state.items()}
    other.source.state.update(wrong)
    np.testing.assert_array_equal(bench.run("scratch").predictions[0], other.run("scratch").predictions[0])


def test_the_dr_learner_prepares_fold_by_fold_and_the_saved_task_is_settled(registry):
    bench = bench_of(registry, "dr_learner")
    outcome = bench.run("linear_probe")
    y = bench.labelled.targets[:, 1]
    assert outcome.task.info().options["scale"] == pytest.approx([float(y.mean()), float(y.std(correction=0))])
    assert bench.target.task.info().options["scale"] is None


@pytest.mark.parametrize("kind", varied.KINDS)
def test_a_whole_run_reports_and_predicts(kind, tmp_path, registry):
    config = RunConfig.model_validate(
        {
            "domain": "varied",
            "out": tmp_path / "run",
            "strategies": ("linear_probe", "full_ft"),
            "seeds": 1,
            "threads": 1,
            "jobs": 1,
            "train": {"steps": 12, "learning_rate": 3e-3},
            "options": {"predict": kind},
        }
    )
    done = run(config, load_registry(config), Reporter())
    task = varied.make_task(kind)
    report = done.report
    assert report["metric"]["name"] == task.metrics[0].name
    assert report["metric"]["higher_is_better"] is task.metrics[0].higher_is_better
    names = {c["strategy"] for c in report["candidates"]}
    assert names == {"linear_probe", "full_ft", "scratch", "zero_shot", task.trivial_name}
    assert report["verdict"]["sentence"]
    page = (done.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert bool(report["details"][report["verdict"]["winner"]]["charts"]) is (kind != "labels")
    for detail in report["details"].values():
        for chart in detail["charts"]:
            assert chart["title"] in page
    quality = json.loads((done.folder / "data" / "quality.json").read_text(encoding="utf-8"))
    assert len(quality["labelled"]) > 2
    np.savetxt(tmp_path / "new.csv", np.random.default_rng(0).normal(size=(3, 12)), delimiter=",")
    said = list(predict(done.folder, tmp_path / "new.csv", Reporter()))
    assert [row["id"] for row in said] == ["0", "1", "2"]
    header, *lines = "".join(text_chunks(iter(said), "csv")).splitlines()
    assert header.startswith("id,prediction")
    assert len(lines) == 3
    if kind == "number":
        assert header == "id,prediction,low,high"
