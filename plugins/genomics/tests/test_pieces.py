"""Explanations of sequences: bases and stretches, on networks whose weights look at one place or one word alone."""

import pytest
import torch
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.codon import CodonFrames
from tlplat_genomics.domain import GenomicsDomain
from tlplat_genomics.normed import NormedCnn
from tlplat_genomics.pieces import Bases, Stretches
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.sequence import OTHER
from tlplat_genomics.tiara import TiaraNet
from torch import nn

from tlplat.attribution import attribute
from tlplat.data.examples import TensorInputs
from tlplat.model import TransferModel
from tlplat.tasks.classification import Classification

TASK = Classification(["a", "b"])


def model_of(backbone):
    torch.manual_seed(0)
    return TransferModel(backbone, nn.Linear(backbone.feature_dim, 2)).eval()


def windows(rows=6, length=100):
    return torch.randint(0, 4, (rows, length), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


@pytest.mark.parametrize("made", [StrandedCnn, NormedCnn])
def test_only_the_bases_that_the_dense_layer_sees_have_a_part(made):
    """Bin 5 of 25 alone: bases 20 to 23 and what the filters reach beside them; on both strands their mirror too."""
    for rc in (False, True):
        torch.manual_seed(1)
        backbone = made(rc=rc)
        dense = backbone.blocks["dense"]
        linear = (dense if isinstance(dense, nn.Module) and hasattr(dense, "linear") else dense[0]).linear
        with torch.no_grad():
            kept = torch.zeros(25, backbone.channels)
            kept[5] = 1
            linear.weight *= 25 * kept.flatten()
        found = attribute(model_of(backbone), TASK, Bases(), TensorInputs(windows()))
        sizes = found.values.abs().mean(dim=0)
        near = set(range(8, 36))
        if rc:
            near |= {99 - i for i in near}
        assert found.values.shape == (6, 100)
        assert found.gap is not None
        assert found.gap < 0.03
        assert float(sizes[[i for i in range(100) if i not in near]].max()) < 1e-6
        assert float(sizes[20:24].mean()) > 1e-3
        if rc:
            assert float(sizes[76:80].mean()) > 1e-3


def test_unknown_bases_have_no_part():
    tokens = windows()
    tokens[:, :30] = OTHER
    torch.manual_seed(1)
    found = attribute(model_of(StrandedCnn()), TASK, Bases(), TensorInputs(tokens))
    assert float(found.values[:, :30].abs().max()) == 0.0
    assert float(found.values[:, 30:].abs().max()) > 1e-3
    assert Bases().texts(tokens)[0][28:31] == ["N", "N", "ACGT"[int(tokens[0, 30])]]


def test_networks_that_count_words_are_occluded():
    torch.manual_seed(1)
    found = attribute(model_of(CodonFrames(hidden=8, width=4)), TASK, Bases(), TensorInputs(windows(2)))
    assert found.method == "occlusion"
    assert found.gap is None
    assert float(found.values.abs().max()) > 0


def test_the_stretch_with_the_word_is_found():
    """A network of 2-mers that only knows GG, which one stretch of ten bases holds."""
    torch.manual_seed(1)
    backbone = TiaraNet(k=2, hidden=8, width=4)
    with torch.no_grad():
        linear = backbone.blocks["layer1"].linear
        keep = torch.zeros(16)
        keep[10] = 1.0
        linear.weight.copy_(linear.weight.abs() * keep)
        linear.bias.zero_()
        backbone.blocks["layer2"].linear.weight.abs_()
    tokens = torch.tensor([0, 3, 1] * 167)[:500].repeat(3, 1).to(torch.uint8)
    tokens[:, 72:78] = 2
    found = attribute(model_of(backbone), TASK, Stretches(), TensorInputs(tokens))
    sizes = found.values.abs().mean(dim=0)
    assert found.values.shape == (3, 50)
    assert int(sizes.argmax()) == 7
    tokens[1, 100:] = OTHER
    texts = Stretches().texts(tokens)
    assert texts[0][7] == "71 to 80"
    assert texts[1][9:11] == ["91 to 100", ""]


def test_the_domain_chooses_by_the_windows_length():
    domain = GenomicsDomain()
    assert isinstance(domain.explainer(Preprocess(100).to_json(), StrandedCnn()), Bases)
    assert isinstance(domain.explainer(Preprocess(5000, pad=False).to_json(), TiaraNet(2, 8, 4)), Stretches)
    assert Bases().places(100)[49:52] == ["-1", "0", "1"]
