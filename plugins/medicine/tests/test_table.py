"""A file of patients: what is wrong is named by its place, and no value is ever shown."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_medicine.limits import check_possible, limits_of
from tlplat_medicine.table import read_sheet, typed_columns

from tlplat.data.sheets import Sheet
from tlplat.errors import DataError, UsageError

GOOD = "a,61,1,<=20,2,3,40,100,1"


def read(path):
    """The file's columns, typed and checked; warnings are kept in the list that is returned with them."""
    told: list[str] = []
    sheet = read_sheet(path, told.append)
    columns = typed_columns(sheet, [n for n in sheet.columns if n != "id"], ["meno", "size", "grade", "hormon"])
    check_possible(sheet, columns, {})
    return sheet, columns, told


def test_columns_and_ids(patients):
    sheet, columns, told = read(patients(GOOD, "b,44,0,20-50,3,1,0,NA,0"))
    assert sheet.ids("id") == ["a", "b"]
    assert sheet.ids("mrn") == ["1", "2"]
    assert columns["age"].tolist() == [61.0, 44.0]
    assert columns["grade"].tolist() == ["2", "3"]
    assert np.isnan(columns["er"][1])
    assert told == []


def test_what_excel_writes_is_read_and_said(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("\ufeffid;age;marker\n1E+05;61;1,5\n2E+05;44;-0,25\n", encoding="utf-8")
    sheet, columns, told = read(path)
    assert sheet.ids("id") == ["1E+05", "2E+05"]
    assert columns["marker"].tolist() == [1.5, -0.25]
    assert len(told) == 1
    assert "separator" in told[0]
    assert "decimal commas in marker" in told[0]


@pytest.mark.parametrize(
    ("row", "code", "place"),
    [
        ("x,Jane Canary,1,<=20,2,3,40,100,1", "TL-DATA-TYPE", "row 6, column age"),
        ("x,-77777,1,<=20,2,3,40,100,1", "TL-DATA-RANGE", "row 6, column age"),
        ("x,212,1,<=20,2,3,40,100,1", "TL-DATA-RANGE", "row 6, column age"),
        ("x,61,1,<=20,2,3,40", "TL-DATA-CSV", "line 7"),
        ('x,"Jane Canary,1', "TL-DATA-CSV", "patients.csv"),
    ],
)
def test_bad_rows_are_placed_and_not_shown(patients, row, code, place):
    with pytest.raises(DataError) as error:
        read(patients(*[GOOD] * 5, row))
    said = error.value.render()
    assert code in said
    assert place in said
    assert "Canary" not in said
    assert "-77777" not in said


def test_a_patient_in_place_of_a_header_is_not_shown(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("Jane Canary,61,1950-02-03\nJohn Doe,44,1960-01-01\n", encoding="utf-8")
    with pytest.raises(DataError, match="TL-DATA-CSV") as error:
        read(path)
    assert "Canary" not in error.value.render()


def test_limits_of_the_users_own(tmp_path):
    sheet = Sheet(tmp_path / "x.csv", {"age": ["17", "40"], "er": ["1", "-1"]})
    columns = typed_columns(sheet, ["age"])
    check_possible(sheet, columns, {})
    with pytest.raises(DataError, match=r"TL-DATA-RANGE[\s\S]*row 1, column age"):
        check_possible(sheet, columns, limits_of(["age=18:110"]))
    for wrong in ("age", "age=18", "age=a:b"):
        with pytest.raises(UsageError, match="--limit"):
            limits_of([wrong])


def test_rows_of_a_second_file_have_their_own_numbers(tmp_path):
    first, second = Sheet(tmp_path / "a.csv", {"x": ["1"]}), Sheet(tmp_path / "b.csv", {"x": ["2"], "y": ["3"]})
    both = first.stacked(second)
    assert both.columns == {"x": ["1", "2"], "y": ["", "3"]}
    assert both.place(0, "x") == "a.csv, row 1, column x"
    assert both.place(1, "y") == "b.csv, row 1, column y"


def test_no_rows(patients):
    with pytest.raises(DataError, match="TL-DATA-CSV"):
        read(patients())


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="TL-DATA-READ"):
        read(tmp_path / "none.csv")


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="TL-DATA-ENCODING"):
        read(path)
