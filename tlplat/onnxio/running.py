"""onnxruntime, kept to what an extractor needs: one output, the CPU, no file, no operator from outside."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from tlplat.errors import ModelError, PluginError

MOST_SESSIONS = 3
_sessions: OrderedDict[tuple[str, int], Any] = OrderedDict()
_lock = threading.Lock()


def digest_of(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


def session(digest: str, content: bytes) -> Any:
    """An ``InferenceSession`` of the model in ``content``, with torch's number of threads; those of late are kept.

    Raises:
        ModelError TL-MODEL-UNSUPPORTED: onnxruntime cannot run it. PluginError TL-PLUGIN-EXTRA: it is not installed.
    """
    key = digest, torch.get_num_threads()
    with _lock:
        if key not in _sessions:
            _sessions[key] = _made(content)
            while len(_sessions) > MOST_SESSIONS:
                _sessions.popitem(last=False)
        _sessions.move_to_end(key)
        return _sessions[key]


def kept(digest: str) -> Any | None:
    """The session of this digest for torch's number of threads, if it is there."""
    return _sessions.get((digest, torch.get_num_threads()))


def run(made: Any, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """The output (rows, ...) for the inputs by name.

    Raises:
        MemoryError: it does not fit. ModelError TL-MODEL-UNSUPPORTED: onnxruntime fails.
    """
    try:
        found: np.ndarray = made.run(None, dict(given))[0]
        return found
    except Exception as error:  # onnxruntime's own types have no common base but this
        text = str(error)
        if "bad allocation" in text or "bad_alloc" in text or "allocate memory" in text:
            raise MemoryError(text) from error
        raise _unsupported(text) from error


def _made(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA", "a model that holds an ONNX graph needs onnxruntime", fix="pip install 'tlplat[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types have no common base but this
        raise _unsupported(str(error)) from error


def _unsupported(text: str) -> ModelError:
    return ModelError(
        "TL-MODEL-UNSUPPORTED",
        "onnxruntime cannot run the ONNX model",
        found=(" ".join(text.split()) or "it says nothing")[:300],
        fix="check that the model runs in onnxruntime alone, or export it again",
    )
