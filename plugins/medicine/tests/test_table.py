"""A file of patients: what is wrong is named by its place, and no value is ever shown."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_medicine.table import read_patients

from tlplat.errors import DataError

GOOD = "a,61,1,<=20,2,3,40,100,1"


def test_columns_and_ids(patients):
    found = read_patients(patients(GOOD, "b,44,0,20-50,3,1,0,,0"))
    assert found.ids == ["a", "b"]
    assert found.columns["age"].tolist() == [61.0, 44.0]
    assert found.columns["grade"].tolist() == ["2", "3"]
    assert np.isnan(found.columns["er"][1])


def test_ids_stay_text(patients):
    assert read_patients(patients(GOOD.replace("a,", "1E+05,"))).ids == ["1E+05"]


@pytest.mark.parametrize(
    ("row", "code", "place"),
    [
        ("x,Jane Canary,1,<=20,2,3,40,100,1", "TL-DATA-TYPE", "row 2, column age"),
        ("x,-3,1,<=20,2,3,40,100,1", "TL-DATA-RANGE", "row 2, column age"),
        ("x,212,1,<=20,2,3,40,100,1", "TL-DATA-RANGE", "row 2, column age"),
        ("x,61,1,<=20,2,3,40", "TL-DATA-CSV", "line 3"),
        ('x,"Jane Canary,1', "TL-DATA-CSV", "patients.csv"),
    ],
)
def test_bad_rows_are_placed_and_not_shown(patients, row, code, place):
    with pytest.raises(DataError) as error:
        read_patients(patients(GOOD, row))
    said = error.value.render()
    assert code in said
    assert place in said
    assert "Canary" not in said
    assert "-3" not in said


def test_no_rows(patients):
    with pytest.raises(DataError, match="TL-DATA-CSV"):
        read_patients(patients())


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="TL-DATA-READ"):
        read_patients(tmp_path / "none.csv")


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="TL-DATA-ENCODING"):
        read_patients(path)
