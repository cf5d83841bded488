"""Trials side by side: this process and helpers of its own (``python -m tlplat.worker``) take jobs from one list.

A helper prepares the same stage from the run's config.toml and answers in JSON lines; results lie in the trials'
folders, so it does not matter who computed what. When this process dies, its helpers leave too.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tlplat.errors import ResourceError, TlplatError, from_json
from tlplat.observing import Observers
from tlplat.selection import Job, Search
from tlplat.stage import loaded_names

WORTHWHILE = 24
"""Fits below which a helper's start costs more than it saves, where fits are as quick as most are."""
WORTH_SECONDS = 10.0
"""The same in seconds, told by the fits of this process: few fits of a large network are worth a helper too."""
HEARD = 0.5
"""Seconds after which observers are told what helpers do while this process only waits for them."""


class Crew:
    """Carries out jobs with ``jobs`` processes, this one included.

    Args:
        folder: the run directory. search: this process's own. warn: receives helpers' warnings.
        observers: are told what helpers tell.
    """

    def __init__(
        self, folder: Path, search: Search, jobs: int, warn: Callable[[str], None], observers: Observers | None = None
    ) -> None:
        self.folder, self.search, self.warn = folder, search, warn
        self.observers = observers or Observers(folder, warn)
        self.wanted = jobs - 1
        self.helpers: list[Helper] = []
        self.left: deque[Job] = deque()
        self.change = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.change:
            for helper in self.helpers:
                helper.end()
            self.change.notify_all()
        for helper in self.helpers:
            helper.close()

    def run(self, jobs: Sequence[Job]) -> None:
        """Compute the jobs that are not done yet; returns when all are.

        Raises:
            what a job raises, here or in a helper; ResourceError TL-WORKER-DIED where a helper is killed.
        """
        done = [job for job in jobs if self.search.is_done(job)]
        for job in done:
            self.search.advance(self.search.size(job))
        wanted = [job for job in jobs if job not in done]
        if not self.helpers and sum(map(self.search.size, wanted)) >= WORTHWHILE:
            self.hire(self.wanted)
        with self.change:
            self.left.extend(wanted)
            self.change.notify_all()
        while (mine := self._take()) is not None:
            began = time.monotonic()
            self.search.do(mine)
            if not self.helpers and self._seconds_left(mine, time.monotonic() - began) >= WORTH_SECONDS:
                self.hire(self.wanted)
        while not self._settled():
            self.observers.hand_over()
        self.observers.hand_over()
        if fault := self._fault():
            raise fault

    def _seconds_left(self, done: Job, seconds: float) -> float:
        """What the jobs that wait will take, at the pace of one that was done; 0 where it took no steps."""
        size = self.search.size(done)
        return seconds / size * sum(map(self.search.size, self.left)) if size else 0.0

    def hire(self, count: int) -> None:
        """Start ``count`` helpers, each served by a thread of this process."""
        for _ in range(count):
            helper = Helper(self.folder, loaded_names(self.search.bench.registry), self.observers.relay)
            self.helpers.append(helper)
            helper.thread = threading.Thread(target=self._serve, args=(helper,), daemon=True)
            helper.thread.start()

    def _serve(self, helper: Helper) -> None:
        """Feed one helper for as long as the crew lasts."""
        helper.hear()  # it is ready, or told why it is not
        while helper.fault is None:
            with self.change:
                self.change.wait_for(lambda: self.left or helper.ended)
                if helper.ended:
                    return
                helper.job = self.left.popleft()
            answer = helper.do(helper.job)
            for sentence in answer.get("warnings", ()):
                self.warn(sentence)
            self.search.advance(self.search.size(helper.job))
            with self.change:
                helper.job = None
                self.change.notify_all()
        with self.change:
            self.change.notify_all()

    def _settled(self) -> bool:
        """Wait, for a short time, until no helper is at work or one has failed; whether that is so."""
        with self.change:
            return bool(self.change.wait_for(lambda: self._fault() or not any(h.job for h in self.helpers), HEARD))

    def _take(self) -> Job | None:
        with self.change:
            return self.left.popleft() if self.left and not self._fault() else None

    def _fault(self) -> TlplatError | None:
        return next((h.fault for h in self.helpers if h.fault is not None), None)


class Helper:
    """A child process and the conversation with it.

    Attributes:
        job: what it computes now. fault: why it can do no more. relay: is given the events that it tells.
    """

    def __init__(self, folder: Path, known: Mapping[str, Any], relay: Callable[[Mapping[str, Any]], None]) -> None:
        self.relay = relay
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tlplat.worker", str(folder), json.dumps(known)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.job: Job | None = None
        self.fault: TlplatError | None = None
        self.ended = False
        self.thread: threading.Thread | None = None

    def do(self, job: Job) -> dict[str, Any]:
        """Hand over one job and wait until its trial's folder holds the result."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job.to_json()) + "\n")
            self.process.stdin.flush()
        except OSError:
            self.fault = _died(self.process)
            return {}
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next answer; an error or the end of the process becomes the fault."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            if not line:
                self.fault = None if self.ended else _died(self.process)
                self.ended = True
                return {}
            answer: dict[str, Any] = json.loads(line)
            if "event" not in answer:
                break
            self.relay(answer["event"])
        if "error" in answer:
            self.fault = from_json(answer)
        return answer

    def end(self) -> None:
        """Kill the process; trials are written atomically, so nothing tears."""
        self.ended = True
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Wait for the serving thread, then close the pipes."""
        if self.thread is not None:
            self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was still buffered for a dead process
                pipe.close()


def _died(process: subprocess.Popen[str]) -> ResourceError:
    code = process.wait()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ResourceError(
        "TL-WORKER-DIED",
        f"a worker process died ({how}); finished trials and checkpoints are kept",
        fix="go on with `tlplat resume RUN`; where memory was short, with fewer --jobs",
    )
