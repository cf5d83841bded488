"""Loads plugins in processes of their own, so that a crash or a hang at import becomes a sentence."""

from __future__ import annotations

import json
import multiprocessing
import signal
from multiprocessing.connection import Connection

from tlplat import plugins
from tlplat.errors import PluginError
from tlplat.installed import PluginEntry, metadata_fault, missing
from tlplat.isolate import stdout_to_stderr
from tlplat.loading import register
from tlplat.registry import Registry

PRELOAD = ["tlplat.domain", "tlplat.edits", "tlplat.strategy", "tlplat.tasks.base"]
"""Imported once, in the server that the probes are forked from: torch takes seconds."""


def probe_all(name: str | None, timeout: float) -> list[tuple[PluginEntry, PluginError | None]]:
    """Every plugin, or those of an entry point's or distribution's name, each with its fault.

    Args:
        timeout: seconds that a plugin may take to load.

    Raises:
        PluginError TL-PLUGIN-MISSING: ``name`` is none of them.
    """
    entries = plugins.discover()
    chosen = [e for e in entries if name in (None, e.name, e.distribution)]
    if not chosen and name is not None:
        raise missing(None, name, sorted({e.name for e in entries}))
    with stdout_to_stderr():  # the server and its children inherit it
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        return [(e, metadata_fault(e, entries) or _probe(e, timeout, context)) for e in chosen]


def _probe(
    entry: PluginEntry, timeout: float, context: multiprocessing.context.ForkServerContext
) -> PluginError | None:
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_load, args=(entry, there), daemon=True)
    child.start()
    there.close()
    try:
        if here.poll(timeout):
            return _answer(here.recv_bytes())
        ended = f"took more than {timeout:g} seconds"
    except EOFError:
        child.join(timeout)
        code = child.exitcode or 0
        ended = f"died by signal {-code} ({_signal(-code)})" if code < 0 else f"ended the process with code {code}"
    finally:
        child.kill()
        child.join()
    return PluginError(
        "TL-PLUGIN-LOAD",
        f"{entry} {ended} in its import",
        fix=f"repair or upgrade it (`pip install --upgrade {entry.distribution}`), or uninstall it",
    )


def _answer(data: bytes) -> PluginError | None:
    error = json.loads(data).get("error")
    if error is None:
        return None
    facts = {name: error[name] for name in ("fix", "where", "found", "expected")}
    return PluginError(error["code"], error["message"], **facts)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _load(entry: PluginEntry, answer: Connection) -> None:
    """In the child: load the plugin, and send its fault or None."""
    try:
        register(entry, Registry())
    except PluginError as error:
        answer.send_bytes(json.dumps(error.to_json()).encode())
    else:
        answer.send_bytes(b"{}")
