"""The demo's rows: MNIST (source) and the UCI digits (target), as images."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tlplat.assets import fetch
from tlplat.data.examples import Examples
from tlplat.domain import DomainContext
from tlplat.errors import DataError
from tlplat_vision.assets import DIGITS_CITATION, MNIST_5K
from tlplat_vision.preprocess import Preprocess
from tlplat_vision.similarity import thumbnails
from tlplat_vision.split import Split, split_thumbnails

LABELS = tuple("0123456789")
MNIST_SIDE, DIGITS_SIDE, DIGITS_MOST = 28, 8, 16
MARGIN = 1 / 7
"""MNIST's digits fill 20 of 28 pixels."""
TEST_SHARE = 0.5

Bytes = NDArray[np.uint8]


def mnist(context: DomainContext) -> tuple[Bytes, NDArray[np.int64]]:
    """Images (5000, 28, 28) and labels (5000,), 500 of each digit.

    Raises:
        DataError TL-DATA-CSV: not 784 pixels and a label a row.
    """
    file = fetch(MNIST_5K, context.cache, offline=context.offline, report=context.report)
    with gzip.open(file, "rt", encoding="ascii") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != MNIST_SIDE**2 + 1:
        raise DataError("TL-DATA-CSV", "MNIST's file has another shape", where=str(file), fix="update tlplat-vision")
    return table[:, :-1].astype(np.uint8).reshape(-1, MNIST_SIDE, MNIST_SIDE), table[:, -1]


def mnist_examples(context: DomainContext, preprocess: Preprocess, rows: NDArray[np.int64] | None = None) -> Examples:
    """MNIST's rows (all, or those numbered) as examples."""
    images, labels = mnist(context)
    index = np.arange(len(images)) if rows is None else rows
    inputs = preprocess.encode(Image.fromarray(images[i]) for i in index.tolist())
    return Examples(inputs, torch.from_numpy(labels[index]), [f"mnist-{i}" for i in index.tolist()])


def uci_digits() -> tuple[list[Image.Image], NDArray[np.int64]]:
    """1797 images of 8 x 8 and labels (1797,); 17 levels of ink spread over 0..255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    levels = np.round(found.images * (255 / DIGITS_MOST)).astype(np.uint8)
    return [Image.fromarray(image) for image in levels], found.target.astype(np.int64)


def digits_split(images: list[Image.Image], labels: NDArray[np.int64], data_seed: int) -> Split:
    """Half of the digits as test rows; near-copies stay together."""
    return split_thumbnails(thumbnails(images), (), labels, TEST_SHARE, data_seed)


def data_card(labels: NDArray[np.int64], split: Split) -> dict[str, Any]:
    """Where the rows come from, how many, how split, what was checked."""
    return {
        "about": "handwritten digits of 43 Turkish writers, scanned, 8 x 8 pixels of 17 levels, no writer given",
        "license": "CC BY 4.0 (UCI); distributed in scikit-learn (BSD-3-Clause)",
        "citation": DIGITS_CITATION,
        "rows": {label: int((labels == i).sum()) for i, label in enumerate(LABELS)},
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
        "split": split.report,
    }
