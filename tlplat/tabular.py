"""Tables for networks: rows that carry their raw columns, and a small multi-layer perceptron to transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from tlplat.data.columns import FARTHEST, Column, Table, TableEncoder
from tlplat.data.examples import Batch, Inputs, TensorInputs, tensor_digest
from tlplat.errors import ModelError
from tlplat.intake import NetworkInput
from tlplat.model import Backbone
from tlplat.pieces import Columns


class TableInputs(TensorInputs):
    """Rows of a mixed table: encoded for a network, and as they were for baselines, which encode them their own way.

    Attributes:
        tensor: (n, width) float32, what a network receives.
        table: the raw columns, those that the network does not know included.
    """

    def __init__(self, tensor: Tensor, table: Table) -> None:
        super().__init__(tensor)
        self.table = dict(table)

    @classmethod
    def of(cls, encoder: TableEncoder, table: Table) -> TableInputs:
        """The rows of ``table`` as ``encoder`` encodes them."""
        return cls(encoder.encode(table), table)

    def select(self, index: Tensor) -> TableInputs:
        rows = index.cpu().numpy()
        return TableInputs(self.tensor[index], {name: values[rows] for name, values in self.table.items()})

    def digest(self) -> str:
        return tensor_digest(self.tensor)


def table_of(inputs: Inputs) -> Table:
    """The raw columns of rows that were made as :class:`TableInputs`."""
    if not isinstance(inputs, TableInputs):
        raise TypeError(f"rows of a table are needed, not {type(inputs).__name__}")
    return inputs.table


def table_text() -> str:
    """How :class:`TableEncoder` encodes a row, for :meth:`tlplat.domain.Domain.inputs_text`."""
    return (
        "a row is float32 numbers, those of each of preprocess.columns one after another. A numeric column gives one: "
        "x, or log(1 + max(x, 0)) where `log` is true, minus `mean`, divided by `std`, cut off at "
        f"-{FARTHEST:g} and {FARTHEST:g}, and 0 where x is missing. A categorical column gives one for each of "
        "`categories`: 1 for the value's own, 0 for the others, and for a value that is not listed no 1 at all. Where "
        "`missing` is true, one more number follows: 1 where the value is missing, else 0. A plain column gives x as "
        "it is"
    )


def columns_of(encoder: TableEncoder) -> Columns:
    """How rows that ``encoder`` encodes fall into its columns, all numbers of one column together.

    The row that says nothing has each number at the mean of the rows that the encoder was fitted on, and of each
    categorical column every category to the same part; of plain columns whose means nobody knows, zero.
    """
    owners, baseline = [], []
    known = any(c.mean for c in encoder.columns) or all(c.kind != "plain" for c in encoder.columns)
    for i, column in enumerate(encoder.columns):
        owners += [i] * column.width
        at_mean = column.mean if column.kind == "plain" else 0.0
        numbers = [1 / len(column.categories)] * len(column.categories) if column.kind == "categorical" else [at_mean]
        baseline += numbers + [0.0] * column.missing
    return Columns(
        [c.name for c in encoder.columns],
        torch.tensor(owners, dtype=torch.int64),
        torch.tensor(baseline, dtype=torch.float32),
        "a row of mean numbers with every category equally likely" if known else "a row of zeros",
    )


def encoder_for(network: NetworkInput, domain: str, table: Table, where: str) -> TableEncoder:
    """How rows of ``table`` become what a network from outside takes: as its file says, else its numbers as they are.

    Args:
        where: what the table is called in the error.

    Raises:
        ModelError TL-MODEL-INPUT: the network takes rows of another width. TL-MODEL-CORRUPT: its file brings columns
            that are none.
    """
    if network.told is not None:
        try:
            encoder = TableEncoder(TypeAdapter(tuple[Column, ...]).validate_python(network.told.get("columns")))
        except ValidationError as error:
            raise ModelError(
                "TL-MODEL-CORRUPT",
                f"{network.file} is damaged: its metadata do not say what columns it takes",
                where=network.file,
                fix="export it again with tlplat export",
            ) from error
        given = f"rows of {encoder.width} numbers, as the file's metadata say"
    else:
        numbers = [name for name, values in table.items() if values.dtype != object]
        encoder = TableEncoder(tuple(Column(name, "plain", mean=_mean(table[name])) for name in numbers))
        given = f"rows of {len(numbers)} numbers: {', '.join(numbers)} ({where})"
    if not network.takes((encoder.width,)):
        raise network.misfit(
            domain, given, "give the columns of numbers that the network was trained on, in its order, and no others"
        )
    return encoder


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


class TabularNet(Backbone):
    """Linear layers with ReLU: a multi-layer perceptron over an encoded table.

    A domain registers a subclass under a name of its own. No normalisation between layers: the encoder standardises,
    target batches are small, and units stay apart, so that they can be copied (Net2Net) and pruned.

    Args:
        inputs: numbers a row, the encoder's width. widths: of the layers. dropout: after each.
    """

    name: ClassVar[str]

    def __init__(self, inputs: int, widths: Sequence[int] = (64, 32), dropout: float = 0.1) -> None:
        super().__init__()
        self.inputs, self.widths, self.dropout = inputs, tuple(widths), dropout
        before = [inputs, *self.widths]
        self.blocks = nn.ModuleDict(
            {f"layer{i + 1}": _layer(before[i], width, dropout) for i, width in enumerate(self.widths)}
        )

    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "widths": list(self.widths), "dropout": self.dropout}

    def embed(self, batch: Batch) -> Tensor:
        """float32 (rows, inputs), as it is."""
        assert isinstance(batch, Tensor)
        return batch.to(torch.float32)

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.widths


def _layer(inputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout))
