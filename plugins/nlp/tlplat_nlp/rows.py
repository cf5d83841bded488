"""Rows of text before they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlplat.data.labelsets import Label, LabelReader


@dataclass(frozen=True)
class Rows:
    """Texts in their order; ``labels`` and ``groups`` hold None where a row has none, ``splits`` as well or nothing.

    ``reader``: how labels were read, where they are the user's.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    labels: Sequence[Label]
    groups: Sequence[str | None]
    splits: Sequence[str | None] = ()
    reader: LabelReader | None = None

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
            self.reader,
        )

    def labelled(self) -> list[str]:
        """The labels, all there and one a row."""
        return [str(label) for label in self.labels]


def joined(first: Rows, second: Rows) -> Rows:
    """One after the other."""
    return Rows(
        [*first.ids, *second.ids],
        [*first.texts, *second.texts],
        [*first.labels, *second.labels],
        [*first.groups, *second.groups],
        [*first.splits, *second.splits],
        first.reader,
    )
