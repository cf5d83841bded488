"""Fault isolation for plugin code: stdout kept clean, global state kept, crashes blamed. It is not a sandbox."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from tlplat.errors import PluginError, TlplatError

Probe = tuple[Callable[[], Any], Callable[[Any], Any]]
"""How a piece of global state is read, and how it is put back."""


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed on stdout to stderr, from Python and from C alike, so that stdout stays machine readable."""
    sys.stdout.flush()
    with _sent(1, 2), redirect_stdout(sys.stderr):
        yield


@contextmanager
def kept_quiet() -> Iterator[None]:
    """Drop what libraries print, on stdout and stderr, from Python and from C; ``TLPLAT_DEBUG=1`` shows it."""
    if os.environ.get("TLPLAT_DEBUG") == "1":
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        for place in (_sent(1, nothing.fileno()), _sent(2, nothing.fileno())):
            stack.enter_context(place)
        stack.enter_context(redirect_stdout(nothing))
        stack.enter_context(redirect_stderr(nothing))
        yield


@contextmanager
def _sent(descriptor: int, to: int) -> Iterator[None]:
    """What is written to one file descriptor goes to another."""
    try:
        saved = os.dup(descriptor)
    except OSError:  # it is closed: nothing can be printed on it
        yield
        return
    try:
        os.dup2(to, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)


@contextmanager
def blame(owner: str, doing: str) -> Iterator[None]:
    """Turn an exception of plugin code into PluginError TL-PLUGIN-CRASH (exit 5) that names who and where.

    Args:
        owner: ``distribution version``, as :meth:`tlplat.registry.Registry.owner` says.
        doing: the hook or method and the moment, e.g. ``loss of behaviour 'x' in epoch 2``.

    Errors with a code of their own, MemoryError and interrupts pass through unchanged.
    """
    try:
        yield
    except (TlplatError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(
            "TL-PLUGIN-CRASH",
            f"{owner} raised {type(error).__name__} in {doing}: {error}",
            fix=f"report this to the authors of {owner.split(' ')[0]}; once it is mended, "
            "`tlplat resume RUN` goes on from the last checkpoint",
        ) from error


@contextmanager
def kept_globals(owner: str, when: str = "while it was imported") -> Iterator[None]:
    """Refuse (TL-PLUGIN-CONTRACT), and undo, changes of process-wide state that would alter other people's runs."""
    probes = _probes()
    before = {name: read() for name, (read, _) in probes.items()}
    changed: list[str] = []
    try:
        yield
    finally:  # also where the code fails after it has changed something
        for name, (read, put_back) in probes.items():
            if read() != before[name]:
                changed.append(name)
                put_back(before[name])
    if changed:
        raise PluginError(
            "TL-PLUGIN-CONTRACT",
            f"{owner} changed {', '.join(changed)} {when}",
            expected="global state as it was",
            fix="set it inside the plugin's functions and put it back there, or leave it out with TLPLAT_PLUGINS",
        )


def _probes() -> dict[str, Probe]:
    import logging
    import signal

    root = logging.getLogger()

    def set_root(state: tuple[list[logging.Handler], int]) -> None:
        root.handlers[:], root.level = state

    def set_signals(handlers: list[Any]) -> None:
        for number, handler in zip(numbers, handlers, strict=True):
            if handler is not None:
                signal.signal(number, handler)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV]
    probes: dict[str, Probe] = {
        "the working directory": (os.getcwd, os.chdir),
        "signal handlers": (lambda: [signal.getsignal(n) for n in numbers], set_signals),
        "logging of the root logger": (lambda: (list(root.handlers), root.level), set_root),
    }
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        state = torch.get_rng_state()
        probes |= {
            "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
            "torch's thread count": (torch.get_num_threads, torch.set_num_threads),
            "torch's random seed": (torch.initial_seed, lambda seed: torch.set_rng_state(state)),
        }
    return probes
