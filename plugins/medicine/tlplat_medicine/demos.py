"""The demos' targets: a German trial's patients, and the images that the source has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlplat.data.columns import TableEncoder
from tlplat.data.quality import hidden
from tlplat.domain import DomainContext, TargetTask
from tlplat.errors import UsageError
from tlplat.model import SourceModel
from tlplat_medicine import nuclei, sources
from tlplat_medicine.cohorts import CITATIONS, LICENSE, Cohort, gbsg
from tlplat_medicine.privacy import FEWEST

TEST_SHARE = 0.5
NOTE = "a prediction describes groups; it is no advice for one patient"
HORMONES = (
    "hormone therapy was not drawn by lot: in Rotterdam older patients got it, in the German trial part of the "
    "patients chose; values and effects hold only as far as the columns (age, menopause, tumour, receptors) explain it"
)
ABOUT = {
    "prognosis": "node-positive breast cancer patients of a German trial: recurrence-free survival",
    "treatment": "node-positive breast cancer patients of a German trial: recurrence-free months within five years, "
    "with and without hormone therapy",
    "diagnosis": f"images of breast tissue whose {nuclei.PROPERTY} is above the median of all 569; the source saw the "
    "others. A split of one hospital's images by a measured property, as a stand-in for another stain or scanner: no "
    "other hospital",
}


def table(task: str) -> dict[str, np.ndarray]:
    """The columns of the demo's target that a model may look at."""
    return sources.features(task, _cohort(task))


def _cohort(task: str) -> Cohort:
    return nuclei.half(upper=True) if task == "diagnosis" else gbsg()


def target(task: str, source: SourceModel, context: DomainContext) -> TargetTask:
    """The demo's target as ``source`` takes it: half of its patients are test patients, strata alike.

    Raises:
        UsageError TL-USAGE: a source of other columns.
    """
    cohort = _cohort(task)
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    told = encoder.fit_report(sources.features(task, cohort))
    if told["absent"]:
        raise UsageError(
            "TL-USAGE",
            f"the source {source.name} knows columns that the demo {task} has not: {', '.join(told['absent'])}",
            fix=f"leave --source out, or choose --source {sources.TASK_SOURCES[task]}",
        )
    strata = _strata(task, cohort)
    test = _half(strata, context.data_seed)
    pool, held = (sources.demo_examples(task, cohort.select(np.flatnonzero(side)), encoder) for side in (~test, test))
    if task == "treatment":
        context.warn(HORMONES)
    diagnosing = task == "diagnosis"
    counts = np.bincount(strata).tolist()
    return TargetTask(
        title=f"{task}: {source.name} -> {'images of higher texture' if diagnosing else 'GBSG'}",
        task=sources.demo_task(task),
        pool=pool,
        test=held,
        preprocess=dict(source.preprocess),
        data_card={
            "about": ABOUT[task],
            "license": nuclei.LICENSE if diagnosing else LICENSE,
            "citation": nuclei.CITATION if diagnosing else CITATIONS["gbsg"],
            "patients": len(cohort),
            **hidden({_COUNTED[task]: counts[1]}, FEWEST),
            "pool_rows": int((~test).sum()),
            "test_rows": int(test.sum()),
            "split": {"by": f"patients, each one row; in each half as many with {_COUNTED[task]}"},
            "columns": {**told, "unseen_categories": hidden(told["unseen_categories"], FEWEST)},
            "note": f"{NOTE}; {HORMONES}" if task == "treatment" else NOTE,
            **_shift(task, source),
        },
        unit="patient",
        unlabeled=pool.inputs,
        may_repeat=True,
    )


_COUNTED = {"prognosis": "events", "treatment": "hormone therapy", "diagnosis": "malignant"}


def _strata(task: str, cohort: Cohort) -> np.ndarray:
    """(n,) 0 or 1: the event, the class, the arm."""
    if task == "diagnosis":
        return cohort.targets.numpy()
    if task == "treatment":
        return (cohort.table["hormon"] == "1").astype(np.int64)
    return (cohort.targets[:, 1] > 0.5).long().numpy()


def _half(strata: np.ndarray, data_seed: int) -> np.ndarray:
    """(n,) bool: half of each stratum, by chance."""
    rng = np.random.default_rng([data_seed, 0x3ED1])
    test = np.zeros(len(strata), dtype=bool)
    for kind in (1, 0):
        rows = rng.permutation(np.flatnonzero(strata == kind))
        test[rows[: round(TEST_SHARE * len(rows))]] = True
    return test


def _shift(task: str, source: SourceModel) -> dict[str, Any]:
    """How source and target differ, for the diagnosis demo, whose halves are made here."""
    if task != "diagnosis":
        return {}
    shares = {f"malignant_{name}": float(nuclei.half(upper).targets.double().mean()) for name, upper in _HALVES}
    return {"shift": {"property": nuclei.PROPERTY, **shares}}


_HALVES = (("source", False), ("target", True))
