"""Rows of text before they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Texts in their order; ``labels`` and ``groups`` hold None where a row has none, ``splits`` as well or nothing."""

    ids: Sequence[str]
    texts: Sequence[str]
    labels: Sequence[str | None]
    groups: Sequence[str | None]
    splits: Sequence[str | None] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, left_out: set[int]) -> Rows:
        """The rows but those of these positions."""
        kept = [i for i in range(len(self)) if i not in left_out]
        return Rows(
            [self.ids[i] for i in kept],
            [self.texts[i] for i in kept],
            [self.labels[i] for i in kept],
            [self.groups[i] for i in kept],
            [self.splits[i] for i in kept] if self.splits else (),
        )

    def labelled(self) -> list[str]:
        """The labels, all there."""
        return [str(label) for label in self.labels]


def joined(first: Rows, second: Rows) -> Rows:
    """One after the other."""
    return Rows(
        [*first.ids, *second.ids],
        [*first.texts, *second.texts],
        [*first.labels, *second.labels],
        [*first.groups, *second.groups],
        [*first.splits, *second.splits],
    )
