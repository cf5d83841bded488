"""Nuclei of breast tissue in 569 images, measured; split by how the image was taken into a source and a target."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from tlplat_medicine.cohorts import Cohort

LABELS = ("benign", "malignant")
LICENSE = "CC BY 4.0 (UCI Machine Learning Repository), as scikit-learn distributes it"
CITATION = "Street, Wolberg & Mangasarian, Proc. SPIE 1905:861 (1993); scikit-learn load_breast_cancer"
PROPERTY = "mean texture"
"""The spread of grey values inside nuclei: it depends on stain and light as well as on the tissue."""


@cache
def images() -> Cohort:
    """All 569 images; targets (n,) int64, 1 is malignant."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    table = {str(name): found.data[:, i].astype(np.float64) for i, name in enumerate(found.feature_names)}
    targets = torch.from_numpy(1 - found.target.astype(np.int64))
    return Cohort(table, targets, [f"image-{i}" for i in range(len(targets))])


def half(upper: bool) -> Cohort:
    """The images whose ``PROPERTY`` is above the median, or the others."""
    whole = images()
    values = whole.table[PROPERTY]
    return whole.select(np.flatnonzero((values > np.median(values)) == upper))
