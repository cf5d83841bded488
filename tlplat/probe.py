"""Loads plugins in processes of their own, so that a crash or a hang at import becomes a sentence."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tlplat import __version__, plugins
from tlplat.cache import cache_root
from tlplat.errors import PluginError, ResourceError
from tlplat.installed import PluginEntry, metadata_fault, missing
from tlplat.isolate import stdout_to_stderr
from tlplat.loading import register
from tlplat.plan import json_hash
from tlplat.registry import Registry
from tlplat.storage import write_json

PRELOAD = ["tlplat.domain", "tlplat.edits", "tlplat.strategy", "tlplat.tasks.base"]
"""Imported once, in the server that the probes are forked from: torch takes seconds."""
LIMIT = 120.0
"""Seconds that a plugin may take to load before it is used."""


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
        _warm(context)
        return [(e, metadata_fault(e, entries) or _probe(e, timeout, context)) for e in chosen]


def vet(entry: PluginEntry) -> None:
    """Load the plugin in a process of its own, so that a crash or a hang at import cannot take this one with it.

    What loads is noted in the cache, and not tried again until the plugin, tlplat or Python changes.

    Raises:
        PluginError: what loading it raises, or TL-PLUGIN-LOAD where the process died or took too long.
    """
    mark = cache_root() / "probes" / f"{_state(entry)}.json"
    if mark.exists():
        return
    with stdout_to_stderr():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        _warm(context)
        fault = _probe(entry, LIMIT, context)
    if fault is not None:
        raise fault
    with suppress(ResourceError):  # it is tried again the next time
        write_json(mark, {"plugin": str(entry)})


def _state(entry: PluginEntry) -> str:
    """Changes with the plugin's version, with the file of its first module, with tlplat and with Python."""
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(entry.module.partition(":")[0].partition(".")[0])
        if spec is not None and spec.origin is not None and Path(spec.origin).exists():
            facts = Path(spec.origin).stat()
            stamp = [spec.origin, facts.st_mtime_ns, facts.st_size]
            return json_hash([entry.group, entry.name, entry.module, entry.owner, __version__, sys.version, *stamp], 32)
    return json_hash([entry.group, entry.name, entry.module, entry.owner, __version__, sys.version], 32)


def _warm(context: multiprocessing.context.ForkServerContext) -> None:
    """Start the server and wait for it, so that its own import of torch is on no plugin's time."""
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_greet, args=(there,), daemon=True)
    child.start()
    there.close()
    with suppress(EOFError):
        here.recv_bytes()
    child.join()


def _greet(answer: Connection) -> None:
    """In the child."""
    answer.send_bytes(b"{}")


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
