import dataclasses

import pytest
import torch

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.quality import check_quality, hidden
from tlplat.errors import DataError
from tlplat.tasks.classification import Classification

TASK = Classification(["a", "b"])


def part(values, targets=None, groups=None, name="r"):
    x = torch.tensor(values, dtype=torch.float32)[:, None]
    y = torch.tensor(targets if targets is not None else [i % 2 for i in range(len(values))])
    ids = [f"{name}{i}" for i in range(len(values))]
    return Examples(TensorInputs(x), y, ids, groups=None if groups is None else torch.tensor(groups))


def test_facts():
    found = check_quality(part([1, 2, 2, 3]), part([7, 8]), TASK)
    assert found["labelled"] == {"rows": 4, "classes": {"a": 2, "b": 2}, "duplicates": 1}


def test_a_row_on_both_sides_is_refused_by_name():
    with pytest.raises(DataError, match=r"TL-LEAK-DUP.*duplicate[\s\S]*test row t1 equals train row r2") as caught:
        check_quality(part([1, 2, 3]), part([9, 3], name="t"), TASK)
    for word in ("duplicate", "train", "test", "count"):
        assert word in str(caught.value)


def test_a_group_on_both_sides_is_refused():
    with pytest.raises(DataError, match="TL-LEAK-GROUP"):
        check_quality(part([1, 2], groups=[1, 2]), part([3, 4], groups=[2, 3]), TASK)


def test_labels_out_of_range_name_row_value_and_range():
    with pytest.raises(DataError) as caught:
        check_quality(part([1, 2, 3], targets=[0, 1, 9]), part([4, 5]), Classification([str(i) for i in range(9)]))
    text = str(caught.value)
    assert "TL-DATA-LABEL-RANGE" in text
    assert "row 2" in text
    assert "[0, 9)" in text
    assert "found: 9" in text


def test_all_ignored_and_empty():
    with pytest.raises(DataError, match="ignore_index"):
        check_quality(part([1, 2], targets=[-100, -100]), part([4, 5]), TASK)
    with pytest.raises(DataError, match="TL-DATA-EMPTY"):
        check_quality(part([]), part([4, 5]), TASK)


def test_moments_on_both_sides_are_refused_by_row():
    def timed(values, spans, name):
        return dataclasses.replace(part(values, name=name), spans=torch.tensor(spans))

    test = timed([7, 8], [[20, 30], [40, 50]], "t")
    check_quality(timed([1, 2, 3], [[0, 19], [31, 39], [51, 60]], "r"), test, TASK)
    with pytest.raises(DataError, match=r"TL-LEAK-TIME.*3 labelled rows") as caught:
        check_quality(timed([1, 2, 3, 4], [[0, 20], [0, 5], [25, 26], [50, 60]], "r"), test, TASK)
    assert [f.where for f in caught.value.findings] == ["row 0 (r0)", "row 2 (r2)", "row 3 (r3)"]


def test_small_counts_are_hidden_where_the_domain_asks():
    found = check_quality(part([1, 2, 3, 4], targets=[0, 1, 1, 1]), part([7, 8], targets=[0, 0]), TASK, least=3)
    assert found["labelled"]["classes"] == {"a": "< 3", "b": "3 or more"}
    assert found["test"]["classes"] == {"a": "< 3", "b": 0}


def test_equal_rows_of_different_patients_are_counted_and_no_leak():
    twins = part([1, 2, 3], groups=[1, 2, 3]), part([3, 4], name="t", groups=[4, 5])
    assert check_quality(*twins, TASK, may_repeat=True)["duplicates_across_split"] == 1
    assert check_quality(*twins, TASK, least=11, may_repeat=True)["duplicates_across_split"] == "< 11"
    with pytest.raises(DataError, match="TL-LEAK-DUP"):
        check_quality(*twins, TASK)


def test_parts_of_a_whole_hide_each_other():
    assert hidden({"rows": 60, "classes": {"a": 3, "b": 20, "c": 37}, "share": 0.5}, 11) == {
        "rows": 60,
        "classes": {"a": "< 11", "b": "11 or more", "c": 37},
        "share": 0.5,
    }
