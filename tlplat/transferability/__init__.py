"""Transferability scores: how well a frozen source's features suit a labelled target, without training the source.

Pure functions of features z (n, d) and labels y (n,), in float64 whatever the input's dtype. Higher is better in all
of them; their values compare *sources on the same rows*, and mean little on their own. All but the probe look at the
rows that they are fitted on, so with few rows and wide features they flatter; the probe is held out.

Errors shared by all: DataError TL-SCORE-INPUT (shapes, fewer than two rows), DataError TL-DATA-ONE-CLASS,
NonFiniteError TL-SCORE-NONFINITE.
"""

from tlplat.transferability.agreement import agreement, kendall_tau
from tlplat.transferability.evidence import log_me
from tlplat.transferability.hscore import h_score, ledoit_wolf, shrunk_h_score
from tlplat.transferability.labels import leep, nce
from tlplat.transferability.mixture import mixture_posterior, n_leep, principal_components
from tlplat.transferability.probe import probe_predictions
from tlplat.transferability.rate import coding_rate, transrate

__all__ = [
    "agreement",
    "coding_rate",
    "h_score",
    "kendall_tau",
    "ledoit_wolf",
    "leep",
    "log_me",
    "mixture_posterior",
    "n_leep",
    "nce",
    "principal_components",
    "probe_predictions",
    "shrunk_h_score",
    "transrate",
]
