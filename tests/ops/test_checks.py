"""Checks that wait for a device run once until the tensor is written to."""

from __future__ import annotations

import pytest
import torch

from tlplat.ops import checks


@pytest.fixture(autouse=True)
def implementation() -> str:
    return "none"


@pytest.mark.parametrize(("device", "expected"), [("cpu", [1, 2, 3, 4]), ("meta", [1, 1, 2, 3])])
def test_a_check_runs_again_after_a_write_or_for_another_question(device: str, expected: list[int]) -> None:
    y, ran = torch.empty(5, dtype=torch.int64, device=device), []
    counts = []
    for what, write in ((3, False), (3, False), (3, True), (4, False)):
        if write:
            y[2] = 1
        checks.once(y, what, lambda: ran.append(1))
        counts.append(len(ran))
    assert counts == expected


def test_a_check_that_fails_is_made_again() -> None:
    y = torch.empty(5, device="meta")

    def fail() -> None:
        raise IndexError("label")

    for _ in range(2):
        with pytest.raises(IndexError):
            checks.once(y, 3, fail)
