"""Fixtures: loans and prices that are drawn here, in files; a context with an empty cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from tlplat.registry import Registry
from tlplat.testing.kit import kit_registry


@pytest.fixture
def registry() -> Registry:
    return kit_registry("domains", "finance")


def loan_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Borrowers whose income and home say something of their outcome; a date a row, rising."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        income, home = rng.normal(100, 30), rng.choice(["own", "rent", "parents"])
        risk = 1 / (1 + np.exp((income - 90) / 15 - (home == "rent")))
        rows.append(
            {
                "id": f"b{i}",
                "date": str(date(2015, 1, 5) + timedelta(days=i)),
                "income": "" if i % 17 == 3 else f"{income:.1f}",
                "home": str(home),
                "years": str(int(rng.integers(0, 30))),
                "outcome": "bad" if rng.random() < risk else "good",
            }
        )
    return rows


@pytest.fixture
def loans() -> Callable[..., list[dict[str, str]]]:
    """Rows of a table of loans, by count and seed."""
    return loan_rows


@pytest.fixture
def write(tmp_path) -> Callable[[str, Sequence[Mapping[str, str]]], Path]:
    """Write rows as a CSV below tmp_path."""

    def make(name: str, rows: Sequence[Mapping[str, str]]) -> Path:
        path = tmp_path / name
        quoted = [[f'"{v}"' if "," in v else v for v in row.values()] for row in rows]
        path.write_text("\n".join(",".join(r) for r in [list(rows[0]), *quoted]) + "\n", encoding="utf-8")
        return path

    return make


def price_rows(days: int, seed: int = 0, start: date = date(2010, 1, 4)) -> list[dict[str, str]]:
    """A close a weekday whose volatility comes and goes, as a GARCH(1,1) makes it."""
    rng = np.random.default_rng(seed)
    when = np.busday_offset(np.datetime64(start), np.arange(days), roll="forward")
    price, variance, rows = 100.0, 1e-4, []
    for day in when:
        shock = np.sqrt(variance) * rng.standard_normal()
        variance = 2e-6 + 0.12 * shock**2 + 0.86 * variance
        price *= float(np.exp(shock))
        rows.append({"date": str(day), "close": f"{price:.4f}"})
    return rows


@pytest.fixture
def prices() -> Callable[..., list[dict[str, str]]]:
    """Rows of one series of prices, by days, seed and start."""
    return price_rows
