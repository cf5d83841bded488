"""Retrieval and comparison: embeddings in which rows of one kind lie close."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.errors import DataError
from tlplat.hookspecs import hookimpl
from tlplat.model import TaskInfo
from tlplat.tasks.base import Evidence, HeadFit, Metric, Task
from tlplat.tasks.linear import Standard, decays_of, folds_of
from tlplat.tasks.ranks import MeanAveragePrecision, RecallAt, hits

TEMPERATURE = 0.1
DEPTHS = (1, 2, 5, 10, 20)


class Retrieval(Task):
    """Find rows of the same kind (object, person, topic). Targets are (n,) int64 kinds; test rows may be of new ones.

    Predictions are (n, 1 + dimension): a number of the space that an embedding belongs to, since embeddings of two fits
    cannot be compared, then the embedding of length 1. Similarity is the cosine.

    Args:
        dimension: of the embedding.
        metric: the primary one: ``recall_at_1`` (default), ``recall_at_5`` or ``mean_average_precision``.
        space: the number of the fit's space; set by ``concluded``.
    """

    name: ClassVar[str] = "retrieval"
    summary: ClassVar[str] = "embeddings to find rows of the same kind: recall@k, mean average precision"
    loss_unit: Literal["row", "set"] = "set"
    least_batch = 128
    concludes = True
    trivial_name: ClassVar[str] = "chance"
    trivial_summary: ClassVar[str] = "one embedding for every row, so that the order is chance"
    decision_words: str = "the cosine to the embedding of the row as it is"

    def __init__(self, dimension: int = 32, metric: str = "recall_at_1", space: float = 0.0) -> None:
        self.dimension, self.metric, self.space = dimension, metric, float(space)

    def info(self) -> TaskInfo:
        options = {"dimension": self.dimension, "metric": self.metric, "space": self.space}
        return TaskInfo(self.name, self.dimension, (), options, frozenset({"loss", "fit_head"}))

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first."""
        found: list[Metric] = [
            RecallAt("recall_at_1", k=1),
            MeanAveragePrecision("mean_average_precision"),
            RecallAt("recall_at_5", k=5),
        ]
        return sorted(found, key=lambda m: m.name != self.metric)

    @property
    def prediction_shape(self) -> tuple[int, ...] | None:
        """Any: a baseline's embedding (pixels) may have another dimension."""
        return None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Supervised contrastive loss over the batch (Khosla et al. 2020, eq. 2), temperature 0.1.

        The mean over rows that have another of their kind in the batch; 0 where none has.
        """
        unit = F.normalize(outputs, dim=1)
        near = unit @ unit.T / TEMPERATURE
        itself = torch.eye(len(outputs), dtype=torch.bool, device=outputs.device)
        log_share = near - torch.logsumexp(near.masked_fill(itself, -torch.inf), dim=1, keepdim=True)
        same = (targets[:, None] == targets) & ~itself
        count = same.sum(dim=1)
        asks = count > 0
        if not bool(asks.any()):
            return 0.0 * outputs.sum()
        each = -(log_share.masked_fill(~same, 0.0)).sum(dim=1) / count.clamp(min=1)
        return each[asks].mean()

    def decode(self, outputs: Tensor) -> np.ndarray:
        """(n, 1 + dimension): space, then the embedding of length 1."""
        unit = F.normalize(outputs.detach().double().cpu(), dim=1)
        return np.asarray(torch.cat([torch.full_like(unit[:, :1], self.space), unit], dim=1).numpy())

    def outputs_text(self) -> str:
        return "an embedding a row: divide it by its Euclidean length, and compare rows by the sum of products (cosine)"

    def chosen(self, outputs: Tensor) -> Tensor:
        """The row's own embedding, of length 1."""
        return F.normalize(outputs, dim=1)

    def decision(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """The cosine to the embedding of the row as it is: what makes it that."""
        return (F.normalize(outputs, dim=1) * chosen).sum(dim=1)

    def concluded(self, outputs: Tensor, targets: Tensor) -> Retrieval:
        """With a number of its own for the fit: a digest of its outputs on the training rows."""
        digest = hashlib.blake2b(outputs.detach().float().cpu().contiguous().numpy().tobytes(), digest_size=6).digest()
        return Retrieval(self.dimension, self.metric, float(int.from_bytes(digest, "big")))

    def trivial(self, targets: Tensor) -> np.ndarray:
        return np.zeros(1 + self.dimension)

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Within-class whitening, then the directions of largest spread (Hastie et al. 2009, section 4.3.3).

        ``weight_decays`` are how much of the mean variance is added to the scatter within kinds: a large one leaves the
        principal components. The one of least held-out loss is taken.
        """
        standard, decays = Standard.of(z, bool(options.get("standardise", True))), decays_of(options)
        x, losses = standard.x, [float("nan")] * len(decays)
        if len(decays) > 1:
            fold = folds_of(options, y)
            parts = [fold == number for number in range(int(fold.max()) + 1)]
            losses = [
                sum(
                    float(self.loss(x[p] @ self._whitening(x[~p], y[~p], decay * standard.variance).T, y[p]))
                    for p in parts
                )
                / len(parts)
                for decay in decays
            ]
        best = losses.index(min(losses)) if len(decays) > 1 else 0
        weight = self._whitening(x, y, decays[best] * standard.variance)
        return standard.head(weight, weight.new_zeros(self.dimension), losses[best], {"weight_decay": decays[best]})

    def _whitening(self, x: Tensor, y: Tensor, added: float) -> Tensor:
        """(dimension, d) map of features x (n, d), ``added`` to each variance; zeros beyond their directions."""
        kinds, number = torch.unique(y.cpu(), return_inverse=True)
        hot = F.one_hot(number, len(kinds)).double()
        inside = x - hot @ (hot.T @ x / hot.sum(dim=0)[:, None])
        scatter = inside.T @ inside / len(x)
        scatter = scatter + added * torch.eye(x.shape[1], dtype=x.dtype)
        values, vectors = torch.linalg.eigh(scatter)
        whiten = vectors * values.clamp(min=1e-12).rsqrt()
        _, _, directions = torch.linalg.svd((x - x.mean(dim=0)) @ whiten, full_matrices=False)
        weight = directions[: self.dimension] @ whiten.T
        return F.pad(weight, (0, 0, 0, self.dimension - len(weight)))

    def takes_head(self, source: TaskInfo) -> bool:
        """An embedding of the same dimension."""
        return source.kind == self.name and source.outputs == self.dimension

    def strata(self, targets: Tensor) -> Tensor:
        """The kinds, those of one row taken together; one stratum where that leaves a single row."""
        kinds, number, count = torch.unique(targets, return_inverse=True, return_counts=True)
        alone = count[number] < 2
        return torch.zeros_like(number) if int(alone.sum()) == 1 else torch.where(alone, len(kinds), number)

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Some kind with two rows: else nothing can be found."""
        if int(torch.unique(targets, return_counts=True)[1].max()) < 2:
            raise DataError(
                "TL-DATA-NO-PAIR",
                f"each of the {len(targets)} rows is of a kind of its own: there is nothing to find",
                fix="give rows of which some are of one kind, or check that the label column is the right one",
            )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Kinds, and how many of them have more than one row."""
        count = torch.unique(targets, return_counts=True)[1]
        return {"kinds": len(count), "kinds_of_several_rows": int((count > 1).sum())}

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction``: the embedding, to be compared by the cosine."""
        return [{"prediction": row[1:]} for row in decoded.tolist()]

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """Share of queries that find one of their kind among the nearest 1 to 20."""
        depths = [k for k in DEPTHS if k < len(evidence.targets)]
        found, total = hits(evidence.targets, evidence.predictions, max(depths, default=1))
        asks = total > 0
        points = [[float(k), float(found[asks, :k].any(axis=1).mean())] for k in depths]
        chart = {
            "kind": "lines",
            "title": "Found among the nearest",
            "x": "neighbours looked at",
            "y": "share of queries",
            "series": [{"points": points}],
            "caption": f"{int(asks.sum())} test rows ask all others for one of their kind.",
        }
        return {"charts": [chart]} if bool(asks.any()) else {}


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Retrieval]
