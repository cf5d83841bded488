"""Exceptions become errors with a code, a place and a fix."""

from __future__ import annotations

import errno
import io
import sys

import click
import pytest

from tlplat.cli import completion, entry, faults, signals
from tlplat.errors import DataError

CASES = [
    (DataError("TL-DATA-X", "bad", fix="mend"), "TL-DATA-X", 3),
    (click.UsageError("wrong"), "TL-USAGE", 2),
    (KeyboardInterrupt(), "TL-INTERRUPTED", 130),
    (signals.TerminatedError(), "TL-TERMINATED", 143),
    (MemoryError(), "TL-OOM", 6),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "TL-OOM", 6),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), "TL-IO-ENOSPC", 6),
    (OSError(errno.EDQUOT, "Quota exceeded", "/x"), "TL-IO-ENOSPC", 6),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), "TL-IO", 6),
    (ZeroDivisionError("division by zero"), "TL-BUG", 1),
    (SystemExit(3), "TL-BUG", 1),
    (RecursionError("deep"), "TL-BUG", 1),
]


@pytest.mark.parametrize(("error", "code", "exit_code"), CASES, ids=[f"{c[1]}-{type(c[0]).__name__}" for c in CASES])
def test_each_exception_has_its_code(tlplat, monkeypatch, error, code, exit_code):
    def fail(**_):
        raise error

    monkeypatch.setattr(completion.command, "callback", fail)
    outcome = tlplat("completion", "bash")
    assert (outcome.code, outcome.error) == (exit_code, code)


def test_debug_shows_the_traceback_below_the_error(monkeypatch, capsys):
    from tlplat.cli.entry import main

    monkeypatch.setattr(completion.command, "callback", lambda **_: 1 / 0)
    monkeypatch.setenv("TLPLAT_DEBUG", "1")
    assert main(["completion", "bash"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tlplat: error [TL-BUG]: unexpected ZeroDivisionError")
    assert "Traceback" in err


def test_the_path_of_the_file_is_named():
    error = faults.explain(PermissionError(errno.EACCES, "Permission denied", "/x/y"))
    assert error.where == "/x/y"


def test_an_error_in_the_core_under_a_plugin_is_the_cores(site, monkeypatch):
    code = "def call(f): f()\ndef boom(): raise ValueError('boom')"
    site.add("other-x", code, module="other_x_caller")
    import other_x_caller

    def core() -> None:
        raise ValueError("core")

    core = type(core)(core.__code__, {"__name__": "tlplat.train", "__builtins__": __builtins__})
    for function, wanted in ((core, "TL-BUG"), (other_x_caller.boom, "TL-PLUGIN-CRASH")):
        with pytest.raises(ValueError, match=r"core|boom") as caught:
            other_x_caller.call(function)
        caught.value.add_note("in epoch 2")
        caught.value.add_note("tlplat resume runs/x")
        error = faults.explain(caught.value)
        assert error.code == wanted
        assert "in epoch 2" in error.message
    assert "'x' (other-x 1.0) failed in boom" in error.message
    assert "`tlplat resume runs/x`" in error.fix


def test_the_run_to_resume_is_named_where_it_is_known():
    error = KeyboardInterrupt()
    error.add_note("tlplat resume runs/x")
    assert faults.explain(error).fix == "`tlplat resume runs/x` goes on with the run"


def test_output_that_is_lost_at_the_last_flush_is_an_error(monkeypatch, capfd):
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(entry, "_drop_stdout", lambda: None)
    assert entry.main(["strategies", "--json"]) == 6
    assert capfd.readouterr().err.startswith("tlplat: error [TL-IO-ENOSPC]: No space left")
