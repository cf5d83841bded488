"""Masked bases: what is hidden stays hidden, both strands agree, and training on it tells bases better than chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.codon import CodonFrames
from tlplat_genomics.masked import MASKED, MaskedBases
from tlplat_genomics.normed import NormedCnn

from tlplat.model import BackboneInfo

CASES = [(StrandedCnn, {}), (StrandedCnn, {"rc": True, "bins": 1}), (NormedCnn, {"stride": 3, "pool": 1})]


def rows(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (count, length)).astype(np.uint8))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("factory", "args"), CASES)
@pytest.mark.parametrize("length", [20, 37, 100])
def test_the_loss_is_finite_and_reaches_the_convolutions(factory, args, length):
    torch.manual_seed(0)
    backbone = factory(**args)
    pretext = backbone.pretext()
    loss = pretext.loss(backbone, rows(16, length), drawn())
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in (*pretext.named_parameters(), *backbone.named_parameters()):
        assert (parameter.grad is not None and bool(parameter.grad.any())) == ("dense" not in name), name
    assert torch.equal(loss, pretext.loss(backbone, rows(16, length), drawn()))
    assert not torch.equal(loss, pretext.loss(backbone, rows(16, length), drawn(1)))


class Seen(torch.nn.Module):
    """Stands before the first block and keeps what it receives."""

    def __init__(self, block: torch.nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.received = hidden
        return self.block(hidden)


def test_hidden_bases_are_not_in_what_the_network_sees():
    torch.manual_seed(0)
    backbone = StrandedCnn(rc=True)
    backbone.blocks["conv1"] = seen = Seen(backbone.blocks["conv1"])
    batch = rows(200, 100)
    batch[:, 90:] = 4  # no base: neither hidden nor predicted
    MaskedBases(backbone).loss(backbone, batch, drawn())
    whole, given = backbone.embed(batch), seen.received
    hidden = (whole[..., :4] != given[..., :4]).any(dim=3)
    assert torch.equal(whole[..., 4], given[..., 4])
    assert not given[..., :4][hidden].any()
    assert torch.equal(hidden[:, 0], hidden[:, 1].flip(1))
    assert abs(float(hidden[:, 0, :90].float().mean()) - MASKED) < 0.01
    assert not hidden[:, 0, 90:].any()


def test_rows_without_a_base_have_no_loss():
    backbone = StrandedCnn()
    loss = backbone.pretext().loss(backbone, torch.full((4, 60), 4, dtype=torch.uint8), drawn())
    loss.backward()
    assert float(loss.detach()) == 0


def test_what_neighbours_tell_is_learnt():
    """In sequences of period two a hidden base follows from those around it: far below log 4 nats."""
    torch.manual_seed(0)
    backbone, period = StrandedCnn(), rows(512, 2, seed=3)
    batch, pretext = period.repeat(1, 50), backbone.pretext()
    optimizer = torch.optim.AdamW([*backbone.parameters(), *pretext.parameters()], lr=1e-2)
    for step in range(100):
        optimizer.zero_grad()
        loss = pretext.loss(backbone, batch[step % 8 * 64 : step % 8 * 64 + 64], drawn(step))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3


def test_backbones_say_whether_they_offer_it():
    assert [BackboneInfo.of(b).self_supervised for b in (StrandedCnn(), NormedCnn(), CodonFrames())] == [
        True,
        True,
        False,
    ]
