"""Which task the patients' table is for, and which columns say the outcome."""

from __future__ import annotations

import pytest
from tlplat_medicine.domain import MedicineDomain

TIMED = {"options.time": "Time", "options.event": "status"}


@pytest.mark.parametrize(
    ("header", "given", "expected"),
    [
        ("age,Time,status", {}, TIMED),
        ("age,Time,status", {"options.task": "prognosis"}, TIMED),
        ("age,Time,status", {"options.time": "age"}, {"options.event": "status"}),
        ("age,Time,status", {"data.target": "status"}, {"options.task": "diagnosis"}),
        ("age,Time,status", {"data.target": "status", "options.task": "prognosis"}, {"options.time": "Time"}),
        ("age,size,Diagnosis", {}, {"options.task": "diagnosis", "data.target": "Diagnosis"}),
        ("age,Time,Diagnosis", {}, {"options.task": "diagnosis", "data.target": "Diagnosis"}),
        ("age,size,label", {"options.task": "diagnosis"}, {"data.target": "label"}),
        ("age,size,label", {"options.task": "diagnosis", "data.target": "size"}, {}),
        ("age,size,code", {}, {}),
        ("age,size,label", {"options.task": "treatment"}, {}),
        ("age,size,label", {"options.arm": "size"}, {"options.task": "treatment"}),
    ],
)
def test_guess(tmp_path, header, given, expected):
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n" + "".join(f"{40 + i},{i},{i % 2}\n" for i in range(20)), encoding="utf-8")
    assert MedicineDomain.guess(path, given) == expected
