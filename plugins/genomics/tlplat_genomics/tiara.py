"""The first-stage network of tiara: 6-mer tf-idf and a dense network, pretrained on genomes of all domains of life."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.assets import fetch_all
from tlplat.data.examples import Batch, state_digest
from tlplat.domain import DomainContext
from tlplat.errors import ModelError
from tlplat.model import Backbone, SourceModel, Tail
from tlplat.ops import FrozenBlock
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import read_weights
from tlplat_genomics.assets import TIARA_CITATION, TIARA_IDF, TIARA_WEIGHTS
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.sequence import OTHER

FRAGMENT = 5000
"""Bases that tiara looks at in one piece; a longer input is cropped to its middle."""
LABELS = ("organelle", "bacteria", "unknown", "archaea", "eukarya")
"""tiara's first-stage classes in the order of its outputs."""


class TiaraNet(Backbone):
    """tf-idf of k-mers, then two dense layers with ReLU (Karlicki et al. 2022).

    Args:
        k: k-mer length. hidden, width: of the two layers (tiara: 6, 2048, 1024).
    """

    name: ClassVar[str] = "genomics-tiara"

    def __init__(self, k: int = 6, hidden: int = 2048, width: int = 1024) -> None:
        super().__init__()
        self.k, self.hidden, self.width = k, hidden, width
        self.blocks = nn.ModuleDict(
            {"layer1": DenseRelu(4**k, hidden), "layer2": DenseRelu(hidden, width)},
        )
        self.register_buffer("idf", torch.ones(4**k))

    idf: Tensor

    def config(self) -> dict[str, Any]:
        return {"k": self.k, "hidden": self.hidden, "width": self.width}

    def embed(self, batch: Batch) -> Tensor:
        """Unit-length tf-idf (rows, 4^k) of the forward strand's k-mers, in lexicographic order, as tiara computes it.

        k-mers with an ambiguous base are left out; a row without any k-mer is all zero.
        """
        assert isinstance(batch, Tensor)
        weighted = kmer_counts(batch, self.k) * self.idf
        return F.normalize(weighted, dim=1)

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden

    def tail(self) -> Tail | None:
        """The second layer; none where another module took its place."""
        last = list(self.blocks.values())[-1]
        if not isinstance(last, DenseRelu) or type(last.linear) is not nn.Linear:
            return None
        block = FrozenBlock(last.linear.weight.detach(), last.linear.bias.detach(), "relu")
        return Tail(lambda batch: (self.before_last(batch), None), block)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.hidden, self.width


class DenseRelu(nn.Module):
    """A dense layer with ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.linear(hidden))


def kmer_counts(tokens: Tensor, k: int) -> Tensor:
    """(rows, 4^k) float32 counts of the unambiguous k-mers of tokens (rows, length), lexicographic in A, C, G, T."""
    long = tokens.long()
    count = max(0, long.shape[1] - k + 1)
    code = torch.zeros(len(long), count, dtype=torch.int64, device=long.device)
    whole = torch.ones_like(code, dtype=torch.bool)
    for i in range(k):
        part = long[:, i : i + count]
        code = 4 * code + part
        whole &= part < OTHER
    code = torch.where(whole, code, 4**k)
    counts = torch.zeros(len(long), 4**k + 1, device=long.device)
    return counts.scatter_add_(1, code, torch.ones_like(code, dtype=counts.dtype))[:, : 4**k]


def load_tiara(context: DomainContext) -> SourceModel:
    """The pretrained network with its own head over tiara's five classes.

    Raises:
        ModelError TL-MODEL-KEYS: the file holds other tensors than the network has.
    """
    weights, idf_file = fetch_all(
        [TIARA_WEIGHTS, TIARA_IDF],
        context.cache,
        offline=context.offline,
        report=context.report,
    )
    idf = np.load(idf_file, allow_pickle=False)
    loaded = read_weights(weights)
    wanted = {"0": "blocks.layer1.linear", "3": "blocks.layer2.linear", "6": "head"}
    named = {f"{wanted.get(key.split('.')[0], key)}.{key.split('.')[-1]}": value for key, value in loaded.items()}
    head = {key.removeprefix("head."): named.pop(key) for key in ("head.weight", "head.bias") if key in named}
    state = {**named, "idf": torch.from_numpy(idf.astype(np.float32))}
    backbone = TiaraNet()
    expected = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    if {key: tuple(value.shape) for key, value in state.items()} != expected or len(head) != 2:
        raise ModelError(
            "TL-MODEL-KEYS",
            "the tensors of tiara's weights do not fit its network",
            where=str(weights),
            found=", ".join(sorted(loaded)),
            fix="delete the cached file and run `tlplat assets fetch`",
        )
    return SourceModel(
        name="tiara",
        base=Ref(TiaraNet.name, backbone.config()),
        state=state,
        head=head,
        task=Classification(labels=LABELS).info(),
        preprocess=Preprocess(length=FRAGMENT, pad=False).to_json(),
        provenance={
            "data": "fragments of 5000 bases from archaea, bacteria, eukarya, plastids and mitochondria",
            "license": "MIT",
            "citation": TIARA_CITATION,
            "weights_sha256": state_digest({**state, **{f"head.{k}": v for k, v in head.items()}}),
        },
    )
