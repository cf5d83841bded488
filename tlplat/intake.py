"""How a domain's rows reach a network from outside of tlplat, which says no more of its rows than their shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlplat.errors import ModelError

Shape = tuple[int | None, ...]
Feed = Literal["rows", "mask", "zeros"]
"""What an input receives: rows of tokens, 1 for a token and 0 for filling, or zeros of that shape."""
MOST_METADATA = 1 << 22
"""Characters of JSON in a file's metadata that are looked at."""


@dataclass(frozen=True)
class NetworkInput:
    """What the network says of its one input, or of the first of several.

    Attributes:
        file: the file's name. name: of the input. shape: of a row, without the first dimension; None is any size.
        dtype: of the numbers as torch calls it, such as ``float32``.
        told: the preprocessing (JSON) that the file brings, where tlplat exported it from a run of this domain. Part
            of a file that is not trusted: check it.
        labels: of its outputs, where such a file names them.
        folder: where the file lies, for what belongs to it (a tokeniser).
        more: the other inputs that the network takes besides.
    """

    file: str
    name: str
    shape: Shape
    dtype: str
    told: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    folder: Path | None = None
    more: tuple[NetworkInput, ...] = ()

    @property
    def inputs(self) -> tuple[NetworkInput, ...]:
        """All of them, in the network's order."""
        return (self, *self.more)

    @property
    def text(self) -> str:
        """Such as ``x (rows, 3, any, any) float32``, one input after another."""
        rows = (", ".join(["rows", *("any" if n is None else str(n) for n in i.shape)]) for i in self.inputs)
        return ", ".join(f"{i.name} ({row}) {i.dtype}" for i, row in zip(self.inputs, rows, strict=True))

    @property
    def integers(self) -> bool:
        """Whether it takes whole numbers."""
        return not self.dtype.startswith("float")

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether rows of this shape, one tensor each, fit and are all that the network takes."""
        return (
            not self.more
            and len(shape) == len(self.shape)
            and all(w in (None, n) for w, n in zip(self.shape, shape, strict=True))
        )

    def misfit(self, domain: str, rows: str, fix: str) -> ModelError:
        """TL-MODEL-INPUT: the network's input and the domain's ``rows``, in words, do not fit together."""
        several = f"{self.file} takes {len(self.inputs)} inputs, and the domain {domain} does not give these"
        return ModelError(
            "TL-MODEL-INPUT",
            several if self.more else f"{self.file} takes rows that the domain {domain} does not give",
            where=self.file,
            found=f"the network takes {self.text}",
            expected=f"the domain gives {rows}",
            fix=f"choose a network that takes such rows, or {fix}",
        )


@dataclass(frozen=True)
class Intake:
    """How rows are made for the network.

    Attributes:
        shape: of a row as the domain encodes it. preprocess: of raw rows to these (JSON), kept with the model.
        scale, shift: for each channel (the first dimension of a row), by which its numbers are multiplied and what is
            added then; empty: they pass as they are.
        channels_last: the network wants the first dimension of a row as the last.
        labels: names of its own outputs, in order, where they are known.
        feeds: what each of the network's inputs receives, in their order, where rows are tokens; else empty.
        pad: the token that fills rows up at their end. Features (rows, tokens, d) are then averaged over the tokens
            that are not filling, or are those of the first one where ``first`` is true.
    """

    shape: tuple[int, ...]
    preprocess: Mapping[str, Any]
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    channels_last: bool = False
    labels: tuple[str, ...] = ()
    feeds: tuple[Feed, ...] = ()
    pad: int = 0
    first: bool = False


def told(about: Mapping[str, str], domain: str) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """Preprocessing and labels in the metadata of a file that tlplat exported from a run of the domain; else none."""
    try:
        read = {k: json.loads(about[k]) for k in ("manifest", "preprocess", "labels") if len(about[k]) <= MOST_METADATA}
        manifest, preprocess, labels = read["manifest"], read["preprocess"], read["labels"]
    except (KeyError, ValueError, RecursionError):
        return None, ()
    named = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not (isinstance(manifest, dict) and isinstance(preprocess, dict) and manifest.get("domain") == domain and named):
        return None, ()
    return preprocess, tuple(labels)
