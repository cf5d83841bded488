"""What only a process of its own shows: streams, signals, locales, cost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from tlplat.cli.group import COMMANDS

HEAVY = ("torch", "numpy", "pydantic", "rich", "sklearn", "Bio", "tlplat_genomics")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["rnu"], ["plugins", "list"], ["domains"]])
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import sys\nfrom tlplat.cli.entry import main\n"
        f"main({arguments!r})\nprint(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "[]"


def test_run_help_without_a_domain_imports_no_torch(tmp_path):
    code = "import sys\nfrom tlplat.cli.entry import main\nmain(['run', '--help'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)


@pytest.mark.slow
def test_help_costs_little():
    """At most 2.5 times the CPU of importing click and pluggy: the least of several, since others share the machine."""

    def cpu(*command: str) -> float:
        times = []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(times)

    assert cpu("-m", "tlplat", "--help") <= 2.5 * cpu("-c", "import click, pluggy")


def test_a_full_stdout_is_an_error(process):
    with open("/dev/full", "wb") as full:
        for arguments in (["--help"], ["domains", "--json"], ["completion", "bash"], ["config", "init"]):
            outcome = process(*arguments, stdout=full)
            assert (outcome.code, outcome.error) == (6, "TL-IO-ENOSPC"), outcome.err
            assert "No space left" in outcome.err
            assert len(outcome.err.splitlines()) == 3  # Python's own flush at exit adds nothing


def test_a_full_stdout_under_an_error_keeps_an_error_code(process):
    with open("/dev/full", "wb") as full:
        assert process("run", "--json", stdout=full).code == 6


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    shell = f"{sys.executable} -m tlplat completion bash | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", f"for i in 1 2 3; do {shell}; done"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) <= {"0", "141"}


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_any_locale_can_print_any_name(process, locale):
    env = {"LC_ALL": locale, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    outcome = process("report", "data_\xe9/\u2603".encode(), env=env)
    assert outcome.error == "TL-REPORT-MISSING"
    assert "data_" in outcome.err


def test_any_locale_can_print_any_name_on_stdout():
    code = SLEEPER.format(body=r"print('\xe9\u2603\udcff')")
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert (done.returncode, done.stdout) == (0, b"ready\n\\xe9\\u2603\\udcff\n"), done.stderr


def test_names_that_are_no_text(process):
    for arguments in ([b"report", b"d\xff"], [b"run", b"-c", b"d\xff"], [b"run", b"--domain", b"d\xff"], [b"d\xff"]):
        assert process(*arguments).code in (2, 5)
    outcome = process(b"report", b"d\xff", b"--json")
    assert "d\udcff" in outcome.document["error"]["message"]


SLEEPER = """
import sys, time
from tlplat.cli import entry, completion
def sleep(*a, **k):
    print("ready", flush=True)
    {body}
completion.command.callback = sleep
sys.exit(entry.main(["completion", "bash"]))
"""


def interrupted(body: str, numbers: list[int]) -> tuple[int, str, float]:
    """The code, stderr and seconds of a command that runs ``body`` and gets the signals, 100 ms apart."""
    child = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)  # the body begins after the line
    start = time.monotonic()
    for number in numbers:
        os.kill(child.pid, number)
        time.sleep(0.1)
    _, err = child.communicate(timeout=30)
    return child.returncode, err, time.monotonic() - start


@pytest.mark.parametrize(
    ("numbers", "code", "word"),
    [
        ([signal.SIGINT], 130, "TL-INTERRUPTED"),
        ([signal.SIGINT, signal.SIGINT], 130, "TL-INTERRUPTED"),
        ([signal.SIGTERM], 143, "TL-TERMINATED"),
        ([signal.SIGTERM, signal.SIGINT], 143, "TL-TERMINATED"),
    ],
)
def test_signals_end_a_command(numbers, code, word):
    ended, err, seconds = interrupted("time.sleep(30)", numbers)
    assert ended == code
    assert err.startswith(f"tlplat: error [{word}]: interrupted")
    assert "fix: `tlplat resume RUN`" in err
    assert "Traceback" not in err
    assert seconds < 5


def test_the_second_signal_does_not_disturb_the_clean_up():
    body = "\n    try:\n        time.sleep(30)\n    finally:\n        time.sleep(0.5); print('saved', file=sys.stderr)"
    ended, err, _ = interrupted(body, [signal.SIGINT, signal.SIGINT])
    assert ended == 130
    assert err.startswith("saved\n")


@pytest.mark.slow
def test_a_clean_up_that_hangs_is_ended():
    body = "\n    try:\n        time.sleep(30)\n    finally:\n        time.sleep(30)"
    ended, err, seconds = interrupted(body, [signal.SIGINT])
    assert ended == 130
    assert "TL-INTERRUPTED" in err
    assert seconds < 5.5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tlplat, shell):
    assert "_TLPLAT_COMPLETE" in tlplat("completion", shell).out


def test_completion_completes(process):
    env = {"_TLPLAT_COMPLETE": "bash_complete", "COMP_WORDS": "tlplat str", "COMP_CWORD": "1"}
    assert process(env=env).out == "plain,strategies\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_of_the_table_and_examples(tlplat, name):
    from tlplat.cli.group import cli

    command = cli.get_command(None, name)
    assert command.short_help == COMMANDS[name]
    outcome = tlplat(name, "--help")
    assert "Examples:" in outcome.out
    assert f"tlplat {name}" in outcome.out
