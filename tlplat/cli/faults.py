"""What each exception means to a user: code, exit code, fix."""

from __future__ import annotations

import errno

import click

from tlplat.cli.signals import TerminatedError
from tlplat.errors import (
    PluginError,
    ResourceError,
    RunInterruptedError,
    RunTerminatedError,
    TlplatError,
    UsageError,
)
from tlplat.installed import discover

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENAMETOOLONG)
RESUME = "`tlplat resume RUN` goes on with an interrupted run (RUN: its folder, the newest in runs/ or that of --out)"


class ToldError(Exception):
    """Carries an error whose JSON is already on stdout, inside a larger document."""

    def __init__(self, error: TlplatError) -> None:
        super().__init__(error.message)
        self.error = error


def is_broken_pipe(error: BaseException) -> bool:
    """Whether the reader of stdout went away, as ``head`` does: no error of ours."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def explain(error: BaseException) -> TlplatError:
    """``error`` as the TlplatError to show."""
    if isinstance(error, TlplatError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, TerminatedError):
        return RunTerminatedError("TL-TERMINATED", "interrupted by SIGTERM", fix=_resume(error))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return RunInterruptedError("TL-INTERRUPTED", "interrupted", fix=_resume(error))
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return ResourceError(
            "TL-OOM", "out of memory", fix="close other programs, or lower train.batch_size (--set train.batch_size=8)"
        )
    if isinstance(error, OSError) and error.errno in FULL + REFUSED:
        return _system(error)
    return _unexpected(error)


def _resume(error: BaseException) -> str:
    """The command that goes on, where the run noted it on the error."""
    noted = [note for note in getattr(error, "__notes__", ()) if note.startswith("tlplat resume ")]
    return f"`{noted[0]}` goes on with the run" if noted else RESUME


def _usage(error: click.ClickException) -> UsageError:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tlplat"
    return UsageError("TL-USAGE", message, fix=f"see `{path} --help`")


def _system(error: OSError) -> ResourceError:
    where = str(error.filename) if error.filename is not None else "the output"
    if error.errno in FULL:
        return ResourceError(
            "TL-IO-ENOSPC",
            f"No space left on the device of {where}; what was to be written there is not complete",
            where=where,
            fix="free some space, or write to another disk, and run the command again",
        )
    return ResourceError(
        "TL-IO",
        f"{error.strerror}: {where}",
        where=where,
        fix="check the folder's owner and permissions (`tlplat doctor` shows those of the cache), then try again",
    )


def _unexpected(error: BaseException) -> TlplatError:
    """A bug: of the plugin whose code ran last, else of tlplat. Notes on the error say more (``in epoch 2``)."""
    module, function, line = _last_frame(error)
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith("tlplat resume ")]
    said = "; ".join([f"{type(error).__name__}: {error}", *notes])
    top = module.partition(".")[0]
    owners = [e for e in discover() if e.module.partition(".")[0].partition(":")[0] == top and top != "tlplat"]
    if owners:
        return PluginError(
            "TL-PLUGIN-CRASH",
            f"{owners[0]} failed in {function}: {said}",
            where=f"{module}, line {line}",
            fix=f"report this to the authors of {owners[0].distribution}; once it is mended, {_resume(error)}",
        )
    return TlplatError(
        "TL-BUG",
        f"unexpected {said}",
        where=f"{module}, line {line}",
        fix="set TLPLAT_DEBUG=1 for the traceback, and report it with the output of `tlplat doctor`",
    )


def _last_frame(error: BaseException) -> tuple[str, str, int]:
    """Module, function and line where the error left the code of tlplat or of a plugin for the last time."""
    ours = {entry.module.partition(".")[0].partition(":")[0] for entry in discover()} | {"tlplat"}
    last, trace = ("?", "?", 0), error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "?")
        if module.partition(".")[0] in ours:
            last = module, trace.tb_frame.f_code.co_name, trace.tb_lineno
        trace = trace.tb_next
    return last
