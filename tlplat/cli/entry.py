"""From arguments to an exit code. The one place where errors become text."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tlplat.cli import signals
from tlplat.cli.faults import ToldError, explain, is_broken_pipe
from tlplat.cli.group import PROGRAM, cli
from tlplat.cli.output import emit_json
from tlplat.deprecation import RenamedWarning
from tlplat.errors import TlplatError
from tlplat.installed import careful

COMPLETE = "_TLPLAT_COMPLETE"


def main(arguments: Sequence[str]) -> int:
    """Carry out the command line ``arguments`` (without the program's name); the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # any name can be printed in any locale
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    with signals.interruptible(), renamed_on_stderr(), careful():
        try:
            code = _invoke(list(arguments))
            sys.stdout.flush()
            return code
        except BaseException as error:
            return _report(error, as_json)


@contextmanager
def renamed_on_stderr() -> Iterator[None]:
    """Show warnings of old names, which Python hides by default, as one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RenamedWarning):
                print(f"tlplat: warning {message}", file=sys.stderr)
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _invoke(arguments: list[str]) -> int:
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, PROGRAM, COMPLETE, os.environ[COMPLETE])
    try:
        with cli.make_context(PROGRAM, arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return int(end.exit_code)
    return 0


def _report(error: BaseException, as_json: bool) -> int:
    """Tell the user, on stderr and as JSON on stdout where that was asked for; the exit code."""
    if is_broken_pipe(error):
        _drop_stdout()
        return 141  # as the shell reports a command that SIGPIPE ended
    told = isinstance(error, ToldError)
    explained: TlplatError = explain(error.error if isinstance(error, ToldError) else error)
    if as_json and not told:
        explained = _emit(explained)
    try:
        print(explained.render(), file=sys.stderr)
        if os.environ.get("TLPLAT_DEBUG") == "1":
            import traceback

            traceback.print_exception(error)
        sys.stderr.flush()
    except OSError:  # nobody listens: the exit code remains
        pass
    if told or not as_json:
        _flush()
    return explained.exit_code


def _emit(explained: TlplatError) -> TlplatError:
    """Print the error as JSON; where stdout takes nothing, tell that, unless the error was of that kind already."""
    try:
        emit_json(explained.to_json())
        sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        return explained if explained.code.startswith("TL-IO") else explain(error)
    return explained


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()


def _drop_stdout() -> None:
    """Send what is still buffered to /dev/null, so that Python's own flush at exit does not complain again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
