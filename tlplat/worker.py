"""A crew's helper: ``python -m tlplat.worker RUN`` reads jobs as JSON lines on stdin and answers each with one line."""

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
from tlplat.isolate import stdout_to_stderr
from tlplat.progress import Reporter
from tlplat.selection import Job
from tlplat.stage import load_registry, prepare, search_of, seeds_of


def main(folder: Path) -> None:
    """Serve until stdin ends or a job fails; a failure is the last answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's affair
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with stdout_to_stderr():
        try:
            _serve(folder, answers)
        except TlplatError as error:
            _say(answers, error.to_json())


def _serve(folder: Path, answers: TextIO) -> None:
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    config = from_toml(folder / "config.toml")
    stage = prepare(config, load_registry(config), Reporter(), folder=folder)
    search = search_of(stage, folder, seeds_of(config))
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
    main(Path(sys.argv[1]))
