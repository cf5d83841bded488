"""What a check runs code in: the network is refused, and process-wide state must be afterwards what it was before."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tlplat.errors import TlplatError
from tlplat.isolate import kept_globals

_refused: list[str] | None = None
_watching = False
LOCAL = ("localhost", "127.0.0.1", "::1", None)


@contextmanager
def no_network() -> Iterator[None]:
    """Code inside fails with an AssertionError where it opens a connection or asks for an address.

    It is seen by an audit hook of the interpreter, so also in code that has imported the functions of :mod:`socket`
    before. Processes that the code starts are not seen.
    """
    global _refused, _watching
    if not _watching:
        sys.addaudithook(_audit)
        _watching = True
    _refused = []
    try:
        yield
        asked = _refused
    finally:
        _refused = None
    assert not asked, f"the network was used, and the fault passed over: {', '.join(asked)}"


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _refused is None or event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        return
    address = args[0] if event == "socket.getaddrinfo" else args[1]
    host = address[0] if isinstance(address, tuple) else address
    local_socket = event != "socket.getaddrinfo" and not isinstance(address, tuple)
    if not local_socket and host not in LOCAL:
        _refused.append(f"{event} {host}")
        raise AssertionError(f"the network was used: {event} {host}")


@contextmanager
def state_untouched(owner: str) -> Iterator[None]:
    """Code inside must leave process-wide state as it was, random generators and gradient mode included."""
    before = _state()
    try:
        with kept_globals(owner, "in its functions"):
            yield
    except TlplatError as error:
        raise AssertionError(error.message) from error
    after = _state()
    changed = [name for name, value in before.items() if after[name] != value]
    assert not changed, f"{owner} changed {', '.join(changed)} in its functions"


def _state() -> dict[str, Any]:
    kind, keys, position, *_ = np.random.get_state()
    return {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's global random state": (kind, np.asarray(keys).tobytes(), position),
        "Python's global random state": random.getstate(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "environment variables": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
    }
