import pytest
import torch

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.unlabeled import admit, need_rows
from tlplat.errors import DataError


def rows(values, names=None):
    tensor = torch.tensor(values, dtype=torch.float32)[:, None]
    ids = names or [f"r{v}" for v in values]
    return Examples(TensorInputs(tensor), torch.zeros(len(values), dtype=torch.int64), ids)


LABELLED, TEST = rows([1, 2]), rows([7, 8], ["seven", "12"])


def offered(values, ids=None, **more):
    return admit(rows(values).inputs, ids, LABELLED, TEST, "more.csv", 0, **more)


def test_test_rows_labelled_rows_and_copies_are_left_out_and_counted():
    found = offered([1, 7, 3, 3, 4, 8])
    assert found.inputs.tensor.flatten().tolist() == [3, 4]
    assert found.facts == {
        "rows": 2,
        "from": "more.csv",
        "rows_offered": 6,
        "left_out_as_test_rows": 2,
        "left_out_as_labelled_rows_or_copies": 2,
    }
    assert found.warning == "2 of 6 unlabelled rows of more.csv are test rows (by content or name) and left out"
    assert offered([3, 4]).warning is None


def test_a_test_rows_name_is_enough_but_a_row_number_names_nothing():
    found = offered([3, 4, 5], ["seven", "12", "line 8"])
    assert found.inputs.tensor.flatten().tolist() == [4, 5]


def test_many_rows_are_drawn_from_by_the_data_seed():
    values = list(range(100, 200))
    first, again = offered(values, most=10), offered(values, most=10)
    assert len(first.inputs) == first.facts["rows"] == 10
    assert torch.equal(first.inputs.tensor, again.inputs.tensor)
    other = admit(rows(values).inputs, None, LABELLED, TEST, "more.csv", 1, most=10)
    assert not torch.equal(first.inputs.tensor, other.inputs.tensor)


def test_a_file_with_nothing_new_is_refused():
    need_rows(offered([3]))
    with pytest.raises(DataError, match="2 are test rows, 1 are labelled") as caught:
        need_rows(offered([7, 8, 1]))
    assert caught.value.code == "TL-DATA-UNLABELED"


def test_few_test_rows_among_them_are_not_counted_where_counts_are_suppressed():
    found = offered([7, 8, 3, 9], least=11)
    assert found.facts["left_out_as_test_rows"] == found.facts["rows"] == "< 11"
    assert "< 11 of 4" in found.warning
