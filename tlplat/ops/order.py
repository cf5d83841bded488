"""The order of rows in an epoch: a keyed bijection, so that (seed, epoch) decides it and no state is kept."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 4
_MASK = (1 << 64) - 1


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation of range(n), (n,) int64 on the CPU; the native loop makes the same one.

    Numbers below 2**b (the least power that holds n) go through rounds of ``x -> (x * odd + key) mod 2**b`` and
    ``x ^= x >> (b // 2 + round parity)``, each a bijection; those below n are kept, in order.
    """
    if n >= 1 << 31:
        raise ValueError(f"at most 2**31 - 1 rows, not {n}")
    bits = max(2, (n - 1).bit_length())
    mask = (1 << bits) - 1
    x = torch.arange(1 << bits)
    state = splitmix(splitmix(seed & _MASK) ^ (epoch & _MASK))
    for i in range(_ROUNDS):
        state = splitmix(state)
        odd, key = (state & 0x7FFFFFFF) | 1, (state >> 32) & 0x7FFFFFFF
        x = (x * odd + key) & mask
        x = x ^ (x >> (bits // 2 + (i & 1)))
    return x[x < n]


def splitmix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), on 64-bit integers."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
