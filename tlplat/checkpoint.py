"""Checkpoints: tensors and JSON in ``step-00000123/{state.safetensors,state.json,manifest.json}``, the newest two.

A checkpoint is made under a temporary name and renamed whole; older ones go only after that. So a kill at any point
leaves the last checkpoint or the one being written, and nothing that is neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlplat import disk, manifest
from tlplat.errors import ModelError, ResourceError
from tlplat.storage import (
    check_manifest,
    clean_temporaries,
    read_json,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
    write_text,
)

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
KEPT = 2
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


@dataclass
class Checkpoint:
    """All that is needed to go on as if nothing had happened.

    Attributes:
        step: optimiser steps done.
        tensors: weights, optimiser slots, RNG states (uint8), by name.
        state: JSON; NaN and infinities are kept.
    """

    step: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then drop all but it and the one before it.

    Checkpoints of a later step are of a history that was given up (they could not be read) and are dropped too.

    Raises:
        ResourceError TL-IO-ENOSPC, TL-IO-WRITE: the previous checkpoints stay.
    """
    folder = Path(folder)
    again = [number for step, number, _ in _found(folder) if step == checkpoint.step]
    suffix = f".{max(again) + 1}" if again else ""
    target = folder / f"step-{checkpoint.step:08d}{suffix}"
    with disk.write_errors(target):
        with disk.temporary_folder(target) as work:
            write_tensors(work / "state.safetensors", checkpoint.tensors)
            write_text(work / "state.json", json.dumps({"step": checkpoint.step, "state": checkpoint.state}))
            write_manifest(work, {"kind": "checkpoint", "checkpoint_format": FORMAT})
            disk.calls.replace(work, target)
        disk.calls.sync_folder(folder)
        kept = 0
        for step, _, path in _found(folder):
            if step > checkpoint.step or kept == KEPT:
                disk.remove_folder(path)
            else:
                kept += 1


def load_checkpoint(folder: Path, warn: Callable[[str], None] = lambda sentence: None) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; what a killed writer left is removed.

    Args:
        warn: told about each checkpoint that fails its checksum.

    Raises:
        ResourceError TL-CKPT-VERSION: the newest one was written by a newer tlplat.
    """
    folder = Path(folder)
    clean_temporaries(folder)
    for _, _, path in _found(folder):
        try:
            return _load(path)
        except ModelError as error:
            warn(
                f"checkpoint {path.name} fails its checksum ({error.message}); "
                "going on from the previous checkpoint, or from the start where there is none"
            )
    return None


def _load(path: Path) -> Checkpoint:
    facts = read_manifest(path)
    written = facts.get("checkpoint_format")
    if written != FORMAT or facts["format"] != manifest.FORMAT:
        raise ResourceError(
            "TL-CKPT-VERSION",
            f"{path} has format {written}, manifest {facts['format']}; this version of tlplat reads format {FORMAT}, "
            f"manifest {manifest.FORMAT}",
            where=str(path),
            fix="resume with the version of tlplat that started the run, or start a new run",
        )
    check_manifest(path)
    tensors, _ = read_tensors(path / "state.safetensors", require_checksum=True)
    document = read_json(path / "state.json")
    return Checkpoint(document["step"], tensors, document["state"])


def _found(folder: Path) -> list[tuple[int, int, Path]]:
    """(step, how often it was saved before, path), newest first."""
    if not folder.is_dir():
        return []
    named = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(((int(m[1]), int(m[2] or 0), path) for m, path in named), reverse=True)
