"""What every bench says of the machine, and where its table and JSON go."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, instruction set, threads and versions."""
    import torch

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def use_threads(threads: int, peer: str) -> None:
    """Torch's threads; for scikit-learn also those of the libraries behind numpy and scipy, once they are loaded."""
    import torch

    torch.set_num_threads(threads)
    if peer == "scikit-learn":
        import sklearn.linear_model  # noqa: F401
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)


def at_best_threads(command: Callable[[int], Sequence[str]], launcher: Sequence[str], what: str) -> dict[str, Any]:
    """What a peer's process prints last (JSON with ``seconds``), at the better of one thread and all cores."""
    runs: list[dict[str, Any]] = []
    for threads in sorted({1, os.cpu_count() or 1}):
        call = [*launcher, sys.executable, *command(threads)]
        found = subprocess.run(call, capture_output=True, text=True, check=False)
        if found.returncode:
            raise SystemExit(f"{what}: {found.stderr.strip().splitlines()[-1:]}")
        runs.append(json.loads(found.stdout.splitlines()[-1]))
    return min(runs, key=lambda r: statistics.median(r["seconds"]))


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the rows' columns."""
    body = [[str(row.get(c, "")) for c in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [columns, ["---"] * len(columns), *body])


def publish(
    name: str, title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> None:
    """Print the table, and write ``results/<name>.md`` and ``results/<name>.json``."""
    text = f"# {title}\n\n{table(columns, rows)}\n\n" + "\n".join(f"- {k}: {v}" for k, v in about.items()) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    document = {"title": title, "about": dict(about), "rows": [dict(r) for r in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
