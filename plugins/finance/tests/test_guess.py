"""Which column of the user's table is meant, and whether it holds prices."""

from __future__ import annotations

import pytest
from tlplat_finance.domain import FinanceDomain

LOANS = "age,income,{target}\n" + "".join(f"{30 + i},{20 + i % 7}.5,{i % 2}\n" for i in range(20))
PRICES = "Date,close{more}\n" + "".join(f"2024-01-{i:02},{100 + i}{{cell}}\n" for i in range(1, 29))


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        (LOANS.format(target="default"), {}, {"data.target": "default"}),
        (LOANS.format(target="Label"), {}, {"data.target": "Label"}),
        (LOANS.format(target="code"), {}, {}),
        (LOANS.format(target="default"), {"data.target": "age"}, {}),
        (LOANS.format(target="default"), {"options.task": "volatility"}, {}),
        (PRICES.format(more="", cell=""), {}, {"options.task": "volatility"}),
        (PRICES.format(more="", cell=""), {"options.task": "credit"}, {}),
        (PRICES.format(more=",fold", cell=",train"), {"data.split": "fold"}, {"options.task": "volatility"}),
        (PRICES.format(more=",class", cell=",up"), {}, {"data.target": "class"}),
    ],
)
def test_guess(tmp_path, text, given, expected):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    assert FinanceDomain.guess(path, given) == expected
