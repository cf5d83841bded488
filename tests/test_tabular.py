"""Rows of a table for networks, and the perceptron over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import TensorInputs
from tlplat.tabular import TableInputs, TabularNet, table_of

TABLE = {"x": np.array([1.0, 2.0, np.nan]), "kind": np.array(["a", "b", "a"], dtype=object), "more": np.arange(3.0)}


class Net(TabularNet):
    name = "net"


@pytest.fixture
def rows() -> TableInputs:
    return TableInputs.of(TableEncoder.fit(TABLE, ["x", "kind"]), TABLE)


def test_rows_keep_their_raw_columns_when_they_are_taken(rows):
    taken = rows.select(torch.tensor([2, 0]))
    assert torch.equal(taken.tensor, rows.tensor[[2, 0]])
    assert table_of(taken)["kind"].tolist() == ["a", "a"]
    assert table_of(taken)["more"].tolist() == [2.0, 0.0]


def test_only_what_a_network_sees_counts_for_the_cache(rows):
    changed = TableInputs(rows.tensor, TABLE | {"more": np.zeros(3)})
    assert changed.digest() == rows.digest()
    assert TableInputs(rows.tensor + 1, TABLE).digest() != rows.digest()


def test_other_rows_have_no_table():
    with pytest.raises(TypeError, match="rows of a table"):
        table_of(TensorInputs(torch.zeros(2, 2)))


def test_the_network_is_built_again_from_its_configuration(rows):
    net = Net(inputs=rows.tensor.shape[1], widths=[8, 4], dropout=0.5).eval()
    again = Net(**net.config()).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(net(rows.take(torch.arange(3))), again(rows.take(torch.arange(3))))
    assert (net.feature_dim, [tuple(f.shape) for f in net.depth_features(rows.tensor)]) == (4, [(3, 8), (3, 4)])
