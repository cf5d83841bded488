"""The run directory: made, locked, described, and its status kept."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tlplat.data.examples import Examples
from tlplat.data.splits import Fold
from tlplat.errors import TlplatError, UsageError
from tlplat.modelio import package_versions
from tlplat.storage import clean_temporaries, lock, read_json, write_bytes, write_json

RUNS = Path("runs")
PACKAGES = ("tlplat", "torch", "numpy", "scikit-learn", "safetensors", "peft", "biopython")


def new_folder(domain: str, digest: str, out: Path | None) -> Path:
    """``out``, or ``runs/<domain>-<UTC time>-<hash8>`` below the current folder.

    Raises:
        UsageError TL-OUT-EXISTS: the folder holds something already.
    """
    folder = out or RUNS / f"{domain}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "TL-OUT-EXISTS",
            f"{folder}/ already holds something",
            where=str(folder),
            fix=f"name another --out, remove the folder, or go on with it: tlplat resume {folder}",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def untouched_on_refusal(folder: Path) -> Iterator[None]:
    """Remove the new folder again where the run is refused before any result is in it; an interrupt leaves it."""
    try:
        yield
    except TlplatError:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent == RUNS:
            with suppress(OSError):  # it holds other runs
                RUNS.rmdir()
        raise


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Hold the folder's lock and keep status.json: running, then complete, failed or interrupted."""
    with lock(folder / ".lock"):
        clean_temporaries(folder)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        _status(folder, "running", started)
        try:
            yield
        except BaseException as error:
            state = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
            code = error.code if isinstance(error, TlplatError) else type(error).__name__
            error.add_note(f"tlplat resume {folder}")
            if folder.exists():  # a refused run took its folder with it
                _status(folder, state, started, error=code)
            raise
        _status(folder, "complete", started)


def status(folder: Path) -> dict[str, Any]:
    """What status.json says.

    Raises:
        UsageError TL-RUN-MISSING: the folder is no run directory.
    """
    if not (folder / "status.json").exists():
        raise UsageError(
            "TL-RUN-MISSING",
            f"{folder} is not a run directory (it has no status.json)",
            where=str(folder),
            fix="name the folder that `tlplat run` printed, such as runs/<domain>-<time>-<hash>",
        )
    found: dict[str, Any] = read_json(folder / "status.json")
    return found


def _status(folder: Path, state: str, started: str, **more: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "status.json", {"state": state, "started": started, "updated": now, **more})


def environment(device: str) -> dict[str, Any]:
    """What a result depends on besides the configuration: versions, threads, instruction set, machine."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": package_versions(PACKAGES),
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def write_data(
    folder: Path,
    labelled: Examples,
    test: Examples,
    folds: Mapping[int, list[Fold]],
    manifest: Mapping[str, Any],
    quality: Mapping[str, Any],
) -> None:
    """``data/{manifest.json,quality.json,splits.parquet}``; the table has one row for each labelled or test row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n, m = len(labelled), len(test)
    columns: dict[str, list[Any]] = {
        "id": [*labelled.ids, *test.ids],
        "split": ["labelled"] * n + ["test"] * m,
    }
    for name in ("groups", "units"):
        parts = [getattr(labelled, name), getattr(test, name)]
        if all(p is not None for p in parts):
            columns[name.removesuffix("s")] = [v for p in parts for v in p.tolist()]
    for seed, made in folds.items():
        number: list[int | None] = [None] * (n + m)
        for k, fold in enumerate(made):
            for row in fold.validation.tolist():
                number[row] = k
        columns[f"fold_seed_{seed}"] = number
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    write_bytes(folder / "data" / "splits.parquet", sink.getvalue().to_pybytes())
    write_json(folder / "data" / "quality.json", dict(quality))
    write_json(folder / "data" / "manifest.json", dict(manifest))
