"""Fixtures: a context with an empty cache, patients of the cohorts in a file, and tables of made-up patients."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Outcome, checked

from tlplat.registry import Registry
from tlplat.testing.kit import kit_registry


@pytest.fixture
def registry() -> Registry:
    return kit_registry("domains", "medicine")


HEADER = "id,age,meno,size,grade,nodes,pgr,er,hormon"


@pytest.fixture
def patients(tmp_path) -> Callable[..., Path]:
    """Write a CSV with the cohorts' columns and these rows."""

    def make(*rows: str) -> Path:
        path = tmp_path / "patients.csv"
        path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        return path

    return make


def made_up(n: int, seed: int, visits: int = 1, shift: float = 0.0) -> list[dict[str, str]]:
    """``n`` patients of ``visits`` rows each: age, blood pressure, smoking, with outcomes of every kind.

    ``ill`` and ``days`` depend on age and pressure; ``drug`` helps the old; ``shift`` moves the pressure.
    """
    rng, rows = np.random.default_rng(seed), []
    for patient in range(n):
        age, base = float(rng.integers(30, 85)), float(rng.normal(130 + shift, 15))
        for _ in range(visits):
            pressure = base + float(rng.normal(0, 3))
            smokes = rng.random() < 0.3
            risk = (age - 57) / 14 + (pressure - 130 - shift) / 18 + 0.8 * smokes
            days = float(rng.exponential(900 * np.exp(-0.7 * risk))) + 1
            watched = float(rng.uniform(300, 2500))
            drug = rng.random() < 0.5
            score = 10 - risk + (1.5 * (age > 57) - 0.5) * drug + float(rng.normal(0, 0.5))
            rows.append(
                {
                    "patient": f"P-{seed}-{patient:04d}",
                    "hospital": f"site {patient % 6}",
                    "age": f"{age:g}",
                    "sysBP": f"{pressure:.1f}",
                    "smoker": "yes" if smokes else "no",
                    "drug": "drug" if drug else "none",
                    "score": f"{score:.3f}",
                    "ill": "ill" if rng.random() < 1 / (1 + np.exp(-1.5 * risk)) else "well",
                    "days": f"{min(days, watched):.0f}",
                    "died": "1" if days <= watched else "0",
                }
            )
    return rows


@pytest.fixture
def table(tmp_path) -> Callable[..., Path]:
    """Write rows (dictionaries) as a CSV."""

    def make(rows: list[dict[str, str]], name: str = "cohort.csv", separator: str = ",") -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return make


@pytest.fixture
def people() -> Callable[..., list[dict[str, str]]]:
    return made_up


@pytest.fixture
def command(capfd, tmp_path, monkeypatch) -> Callable[..., Outcome]:
    """Run ``tlplat *arguments`` in this process, in the test's folder, with a cache of its own below it."""
    from tlplat.cli.entry import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        return checked(Outcome(code, out, err))

    return run
