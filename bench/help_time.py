"""Is `tlplat --help` slower with plugins installed? Two environments in turn, CPU time of the process.

python bench/help_time.py --with-plugins VENV/bin/python --without VENV/bin/python [--repeats 30]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
from pathlib import Path

from machine import machine, publish


def spent(python: Path, *arguments: str) -> float:
    """Milliseconds of CPU of one process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-plugins", type=Path, required=True)
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    count = "import importlib.metadata as m; print(len(m.entry_points(group='tlplat.domains')))"
    calls = {
        "tlplat --help": ("-m", "tlplat", "--help"),
        "import click, pluggy": ("-c", "import click, pluggy"),
    }
    pythons = {"with plugins": options.with_plugins, "without": options.without}
    spent_by: dict[tuple[str, str], list[float]] = {(c, p): [] for c in calls for p in pythons}
    for _ in range(options.repeats):
        for call, place in spent_by:
            spent_by[call, place].append(spent(pythons[place], *calls[call]))
    rows = []
    for (call, place), times in spent_by.items():
        low, mid, high = statistics.quantiles(times, n=4)
        found = subprocess.run([pythons[place], "-c", count], capture_output=True, text=True, check=True).stdout.strip()
        row = {"what": call, "environment": place, "domains": found}
        rows.append(row | {"CPU ms": f"{mid:.0f} [{low:.0f}, {high:.0f}]"})
    publish("help_time", "CPU time of the first help", list(rows[0]), rows, machine() | {"repeats": options.repeats})


if __name__ == "__main__":
    main()
