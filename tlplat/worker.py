"""A crew's helper: ``python -m tlplat.worker RUN`` reads jobs as JSON lines on stdin and answers each with one line.

A further argument names the plugins that the run's process has loaded, as :func:`tlplat.stage.loaded_names` gives them.

Before the answer come the job's events, a line each, which the run's process hands to the observers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from tlplat.config import from_toml
from tlplat.errors import TlplatError
from tlplat.events import Event, describe
from tlplat.isolate import stdout_to_stderr
from tlplat.progress import Reporter
from tlplat.selection import Job
from tlplat.stage import load_registry, prepare, search_of, seeds_of


def main(folder: Path, known: dict[str, list[str]] | None = None) -> None:
    """Serve until stdin ends or a job fails; a failure is the last answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's affair
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with stdout_to_stderr():
        try:
            _serve(folder, known, answers)
        except TlplatError as error:
            _say(answers, error.to_json())


def _serve(folder: Path, known: dict[str, list[str]] | None, answers: TextIO) -> None:
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    config = from_toml(folder / "config.toml")
    stage = prepare(config, load_registry(config, known), Reporter(), folder=folder)

    def tell(event: Event) -> None:
        _say(answers, {"event": describe(event)})

    search = search_of(stage, folder, seeds_of(config), tell=tell)
    _say(answers, {"ready": True})
    told = len(stage.context.warnings)
    for line in sys.stdin:
        search.do(Job(**json.loads(line)))
        _say(answers, {"done": True, "warnings": stage.context.warnings[told:]})
        told = len(stage.context.warnings)


def _say(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _leave_with(parent: int) -> None:
    """End this process as soon as its parent is gone, also in the middle of a trial."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(0.2)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else None)
