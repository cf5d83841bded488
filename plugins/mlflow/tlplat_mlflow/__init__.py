"""Runs of tlplat in MLflow, where ``MLFLOW_TRACKING_URI`` says so. Importing this imports no MLflow."""

from __future__ import annotations

import os
from typing import Any

from tlplat import hookimpl


@hookimpl
def tlplat_run_event(event: dict[str, Any]) -> None:
    """Hand the event to the run's tracker; without ``MLFLOW_TRACKING_URI`` nothing is written anywhere."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read once, when MLflow is imported
        from tlplat_mlflow.tracker import hear

        hear(event)
