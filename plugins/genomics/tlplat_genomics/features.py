"""Classical features of windows: k-mer frequencies, one-hot bases, reading-frame openness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat_genomics.backbone import complement
from tlplat_genomics.sequence import OTHER
from tlplat_genomics.tiara import kmer_counts

STOPS = ((3, 0, 0), (3, 0, 2), (3, 2, 0))
"""TAA, TAG, TGA."""


def kmer_frequencies(tokens: Tensor, k: int, both_strands: bool) -> Tensor:
    """(n, 4^k) shares of each k-mer; with ``both_strands`` a sequence and its reverse complement get the same."""
    counts = kmer_counts(tokens, k)
    if both_strands:
        counts = counts + kmer_counts(complement(tokens.long()).flip(1), k)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


def one_hot(tokens: Tensor) -> Tensor:
    """(n, 4 * length) one column for each base at each position; ambiguous bases are all zero."""
    return F.one_hot(tokens.long(), OTHER + 1)[..., :OTHER].flatten(1).float()


def frame_openness(tokens: Tensor) -> Tensor:
    """(n, 3): fewest stop codons in any of six frames, mean over frames, longest run without a stop (in codons)."""
    fewest, longest = [], []
    for strand in (tokens.long(), complement(tokens.long()).flip(1)):
        triples = strand.unfold(1, 3, 1)
        stop = torch.stack([(triples == triples.new_tensor(s)).all(dim=2) for s in STOPS]).any(dim=0)
        for frame in range(3):
            stops = stop[:, frame::3]
            fewest.append(stops.sum(dim=1))
            longest.append(_longest_run(stops))
    counts = torch.stack(fewest, dim=1).float()
    return torch.stack([counts.amin(1), counts.mean(1), torch.stack(longest, 1).amax(1).float()], dim=1)


def _longest_run(stops: Tensor) -> Tensor:
    """(n,) longest stretch of False in each row."""
    place = torch.arange(1, stops.shape[1] + 1, device=stops.device).expand_as(stops)
    last = torch.where(stops, place, 0).cummax(dim=1).values
    return (place - last).amax(dim=1)
