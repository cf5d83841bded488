"""Figures over all rows: means by place and by text, and permutation importance of a planted column."""

import pytest
import torch
from torch import nn

from tlplat.attribution import Attribution
from tlplat.data.examples import Examples, TensorInputs
from tlplat.importance import as_words, by_place, by_text, permuted
from tlplat.model import TransferModel
from tlplat.pieces import Columns, Explainer
from tlplat.tasks.classification import Classification
from tlplat.testing.toy import DIM, ToyNet


def attribution(values):
    n = len(values)
    return Attribution(torch.tensor(values), torch.zeros(n, 2), torch.zeros(n), None, None, "occlusion", "nothing")


class Words(Explainer):
    unit = "word"

    def way(self, backbone):
        raise NotImplementedError

    def texts(self, batch):
        raise NotImplementedError


def test_places_count_only_where_a_row_has_a_piece():
    found = attribution([[1.0, -4.0, 9.0], [3.0, 2.0, 9.0]])
    told = by_place(found, Words(), [["a", "b", ""], ["a", "", ""]])
    assert told == [{"name": "1", "value": 2.0}, {"name": "2", "value": 4.0}]


def test_texts_need_three_rows_and_the_largest_comes_first():
    found = attribution([[1.0, -4.0], [1.0, 2.0], [1.0, 9.0], [1.0, 0.0]])
    texts = [[" film", " dull"], [" film", " dull"], [" film", " rare"], [" film", " dull"]]
    told = by_text(found, texts)
    assert told == [{"name": "dull", "value": 2.0, "rows": 3}, {"name": "film", "value": 1.0, "rows": 4}]


def test_pieces_of_a_word_are_one():
    """Sums stay, and a special token, which is not shown, ends a word."""
    found = attribution([[1.0, 2.0, -0.5, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0, 16.0]])
    whole, texts = as_words(found, [["Play", "ing", " it", "", "self"], ["", " a", "b", "c", " d"]])
    assert texts == [["Playing", "", " it", "", "self"], ["", " abc", "", "", " d"]]
    assert whole.values.tolist() == [[3.0, 0.0, -0.5, 4.0, 8.0], [1.0, 14.0, 0.0, 0.0, 16.0]]


@pytest.mark.parametrize("column", [2, 7])
def test_shuffling_costs_the_planted_column_alone(column):
    """The model reads one column, and the labels are its sign."""
    x = torch.randn(300, DIM, generator=torch.Generator().manual_seed(0))
    rows = Examples(TensorInputs(x), (x[:, column] > 0).long(), [str(i) for i in range(300)])
    backbone = ToyNet(width=4)
    model = TransferModel(backbone, nn.Linear(4, 2)).eval()
    model.forward = lambda batch: torch.stack([-batch[:, column], batch[:, column]], dim=1)
    explainer = Columns([f"x{i}" for i in range(DIM)], torch.arange(DIM), torch.zeros(DIM), "zeros")
    told = permuted(model, Classification(["no", "yes"]), explainer, rows)
    assert told is not None
    lost = {p["name"]: p["value"] for p in told}
    assert lost.pop(f"x{column}") == pytest.approx(0.5, abs=0.06)  # AUROC falls from 1 to a guess
    assert set(lost.values()) == {0.0}


def test_pieces_that_are_no_columns_are_not_shuffled():
    rows = Examples(TensorInputs(torch.zeros(4, 2)), torch.zeros(4).long(), list("abcd"))
    assert permuted(TransferModel(ToyNet(), nn.Linear(16, 2)), Classification(["a", "b"]), Words(), rows) is None
