"""What a user of an exported file must be told, who has neither tlplat nor the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlplat import plugins
from tlplat.modelio import LoadedModel
from tlplat.prediction import calibration_of
from tlplat.registry import Registry


def told(folder: Path, loaded: LoadedModel, registry: Registry) -> dict[str, Any]:
    """``inputs_text`` of the domain, in words; ``calibration``, null where there were too few rows (JSON)."""
    domain = plugins.domain(loaded.manifest["domain"], registry)
    return {"inputs_text": domain.inputs_text(loaded.preprocess), "calibration": calibration_of(folder)}
