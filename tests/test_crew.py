"""Trials side by side in processes give what one process gives; a helper's death or error is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_runner import FAST, results

from tlplat.config import RunConfig
from tlplat.crew import Crew
from tlplat.errors import ResourceError, UsageError, from_json
from tlplat.progress import Reporter
from tlplat.rundir import environment
from tlplat.runner import resume, run
from tlplat.selection import Job
from tlplat.stage import load_registry, prepare, search_of, seeds_of
from tlplat.storage import write_json, write_text


def config(out, **more):
    return RunConfig.model_validate({"domain": "toy", "out": out, **FAST, "jobs": 2, "seeds": 3, **more})


@pytest.fixture
def staged(toy, tmp_path):
    """A run folder as `run` leaves it before the search, and its search."""
    from tlplat.config import to_toml

    made = config(tmp_path / "run")
    stage = prepare(made, load_registry(made), Reporter())
    write_text(made.out / "config.toml", to_toml(made))
    write_json(made.out / "env.json", {**environment("cpu"), "config_origins": {}})
    return made.out, search_of(stage, made.out, seeds_of(made))


def first_jobs(search):
    return search.jobs("validate", [a for i in range(len(search.candidates)) for a in search.arms(i)], search.seeds[:1])


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(toy, tmp_path):
    two = config(tmp_path / "two")
    run(two, load_registry(two), Reporter())
    one = config(tmp_path / "one", jobs=1)
    run(one, load_registry(one), Reporter())
    assert results(tmp_path / "two") == results(tmp_path / "one")


@pytest.mark.slow
def test_helpers_share_the_jobs_and_end_with_the_crew(staged):
    folder, search = staged
    done_here = []
    original = type(search).do

    def slowly(self, job):
        done_here.append(job)
        time.sleep(1.0)
        original(self, job)

    with pytest.MonkeyPatch.context() as patch, Crew(folder, search, 2, print) as crew:
        patch.setattr(type(search), "do", slowly)
        crew.hire(1)
        crew.run(first_jobs(search))
        helper = crew.helpers[0].process
    assert all(search.is_done(job) for job in first_jobs(search))
    assert 0 < len(done_here) < len(first_jobs(search))
    assert helper.poll() is not None


@pytest.mark.slow
def test_a_killed_helper_is_told_with_its_signal_and_the_run_can_be_resumed(staged):
    folder, search = staged
    with Crew(folder, search, 2, print) as crew:
        crew.hire(1)
        os.kill(crew.helpers[0].process.pid, signal.SIGKILL)
        with pytest.raises(ResourceError, match=r"TL-WORKER-DIED[\s\S]*worker[\s\S]*signal 9"):
            crew.run(first_jobs(search))
    write_json(folder / "status.json", {"state": "failed"})
    assert resume(folder, Reporter()).report["verdict"]["outcome"] in ("helps", "ties", "hurts")


def serve(folder, lines):
    child = subprocess.run(
        [sys.executable, "-m", "tlplat.worker", str(folder)], input=lines, capture_output=True, text=True, timeout=120
    )
    return child.stdout.splitlines()


@pytest.mark.slow
def test_a_helpers_error_crosses_as_json(toy, tmp_path):
    import json

    write_text(tmp_path / "config.toml", 'domain = "toy"\nstrategies = ["zero_shot"]\nlabels = 999999\n')
    answers = serve(tmp_path, "")
    error = from_json(json.loads(answers[-1]))
    assert isinstance(error, UsageError)
    assert error.code == "TL-LABELS-TOO-MANY"


@pytest.mark.slow
def test_a_helper_leaves_when_its_parent_is_gone(staged, tmp_path):
    folder, _ = staged
    middle = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "c = subprocess.Popen([sys.executable, '-m', 'tlplat.worker', sys.argv[1]], stdin=subprocess.PIPE,"
            " stdout=subprocess.PIPE)\n"
            "c.stdout.readline(); print(c.pid, flush=True); time.sleep(600)",
            str(folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    helper = int(middle.stdout.readline())
    middle.kill()
    middle.wait()
    middle.stdout.close()
    for _ in range(100):
        time.sleep(0.1)
        try:
            state = Path(f"/proc/{helper}/stat").read_text(encoding="utf-8").split()[2]
        except FileNotFoundError:
            return
        if state == "Z":
            return
    pytest.fail("the helper outlived its parent by 10 s")


def test_few_fits_start_no_helper(staged):
    folder, search = staged
    job = Job("validate", [c.name for c in search.candidates].index("majority"), 0, 0)
    with Crew(folder, search, 4, print) as crew:
        crew.run([job])
        assert crew.helpers == []
    assert search.is_done(job)


@pytest.mark.slow
def test_few_slow_fits_start_one(staged, monkeypatch):
    """Few fits of a large network: what the first ones took says that a helper pays."""
    folder, search = staged
    monkeypatch.setattr("tlplat.crew.WORTHWHILE", float("inf"))
    jobs = first_jobs(search)
    with Crew(folder, search, 2, print) as crew:
        crew.run(jobs[:2])
        assert not crew.helpers, "quick fits are done before it has started"
        monkeypatch.setattr("tlplat.crew.WORTH_SECONDS", 1e-9)
        crew.run(jobs[2:])
        assert len(crew.helpers) == 1
    assert all(search.is_done(job) for job in jobs)
