"""``fit_softmax_heads`` in the native library: arguments as plain pointers, and the loop that lets Ctrl-C through."""

from __future__ import annotations

import ctypes
import math
from ctypes import c_double, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from tlplat.errors import PluginError, ResourceError
from tlplat.ops import extension
from tlplat.ops.problem import HeadProblem, HeadsFit

_STORAGE = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_SOLVERS = {"lbfgs": 0, "sgd": 1, "adamw": 2}
_SLICE_SECONDS = 0.2
"""How long the native loop may run before Python looks for Ctrl-C."""


class _Problem(ctypes.Structure):
    """Mirrors TlplatHeadProblem of csrc/heads/problem.h."""

    _fields_ = (
        *(
            (name, c_void_p)
            for name in (
                "z", "label", "own", "mass", "smooth", "row_weight", "held_weight", "decay", "rate", "seed",
                "centre", "spectrum", "axes", "path", "weight", "bias", "loss", "held_loss", "converged", "iterations",
            )
        ),
        *(
            (name, c_int64)
            for name in (
                "n", "d", "z_stride", "classes", "heads", "row_weight_stride", "held_weight_stride", "max_iter",
                "batch_size", "patience",
            )
        ),
        *((name, c_double) for name in ("tol", "momentum", "beta1", "beta2", "eps")),
        *((name, c_int32) for name in ("z_dtype", "compute", "solver", "cosine", "threads", "isa", "from_zero")),
    )  # fmt: skip


def fit(p: HeadProblem) -> HeadsFit:
    """Fit the heads of ``p`` natively; what it returns and raises is said at :func:`tlplat.ops.fit_softmax_heads`."""
    library = _library()
    problem, outputs, keep = _arguments(p)
    handle = library.tlplat_heads_create(ctypes.byref(problem))
    if not handle:
        raise _short()
    try:
        state = 0
        while state == 0:
            state = library.tlplat_heads_run(handle, _SLICE_SECONDS, (1 << 62) if p.on_epoch is None else 1)
            if state < 0:
                raise _short()
            if p.on_epoch is not None:
                library.tlplat_heads_result(handle)
                if p.on_epoch(int(outputs["iterations"].max()), outputs["loss"].clone()):
                    break
        library.tlplat_heads_result(handle)
    finally:
        library.tlplat_heads_free(handle)
    del keep
    return HeadsFit(
        outputs["weight"],
        outputs["bias"],
        outputs["loss"].to(p.compute),
        outputs["converged"].bool(),
        outputs["iterations"],
        outputs["held_loss"].to(p.compute),
    )


def _arguments(p: HeadProblem) -> tuple[_Problem, dict[str, Tensor], list[Tensor]]:
    """The C structure, its output tensors, and the inputs that must stay alive."""
    own, mass, smooth = p.row_loss.by_class(p.num_classes, p.compute)
    z = p.z if p.z.shape[1] < 2 or p.z.stride(1) == 1 else p.z.contiguous()
    axes = None if p.moments is None else p.moments.axes
    inputs: dict[str, Tensor | None] = {
        "z": z,
        "label": _labels(p.y, p.row_loss.ignore_index),
        "own": own,
        "mass": mass,
        "smooth": smooth,
        "row_weight": _rows(p.sample_weight, p.compute),
        "held_weight": _rows(p.validation_weight, p.compute),
        "decay": p.weight_decay.double().contiguous(),
        "rate": None if p.minibatch is None else p.minibatch.learning_rate.double().contiguous(),
        "seed": None if p.minibatch is None else torch.tensor(p.minibatch.seed, dtype=torch.int64),
        "centre": None if p.moments is None else p.moments.centre,
        "spectrum": None if p.moments is None else p.moments.spectrum,
        "axes": None if axes is None else torch.stack([axes, axes.t()]),
    }
    outputs = {
        "weight": p.weight.contiguous().clone(),
        "bias": p.bias.contiguous().clone(),
        "loss": torch.full((p.heads,), math.nan, dtype=torch.float64),
        "held_loss": torch.full((p.heads,), math.nan, dtype=torch.float64),
        "converged": torch.zeros(p.heads, dtype=torch.uint8),
        "iterations": torch.zeros(p.heads, dtype=torch.int64),
    }
    problem = _Problem(**{name: None if t is None else t.data_ptr() for name, t in (inputs | outputs).items()})
    problem.n, problem.d, problem.classes, problem.heads = len(z), z.shape[1], p.num_classes, p.heads
    problem.z_stride = z.stride(0)
    for name in ("row_weight", "held_weight"):
        rows = inputs[name]
        setattr(problem, f"{name}_stride", 0 if rows is None or len(rows) == 1 else rows.shape[1])
    problem.max_iter, problem.tol = p.max_iter, p.tol
    problem.z_dtype, problem.compute, problem.solver = _STORAGE[z.dtype], _STORAGE[p.compute], _SOLVERS[p.solver]
    problem.from_zero = int(p.from_zero)
    problem.threads, problem.isa = torch.get_num_threads(), _library().tlplat_best_isa()
    m = p.minibatch
    if m is not None:
        problem.batch_size, problem.patience, problem.momentum, problem.eps = (
            m.batch_size,
            m.patience,
            m.momentum,
            m.eps,
        )
        (problem.beta1, problem.beta2), problem.cosine = m.betas, int(m.schedule == "cosine")
    return problem, outputs, [t for t in inputs.values() if t is not None]


def _labels(y: Tensor, ignore_index: int) -> Tensor:
    """(n,) int32, negative where a row counts nothing: beside the order of rows all that a fit keeps of n numbers."""
    ignored = y == ignore_index
    return y.to(torch.int32).masked_fill_(ignored, -1)


def _rows(w: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if w is None else w.to(dtype).contiguous()


def _short() -> ResourceError:
    return ResourceError(
        "TL-OOM", "not enough memory or threads to fit the heads", fix="fit fewer heads in a call, or free memory"
    )


def _library() -> ctypes.CDLL:
    library = extension.load().library
    if library is None:
        raise PluginError("TL-EXT-BUILD", "the native extension is not loaded", fix="use impl='auto' or 'reference'")
    library.tlplat_heads_create.restype = c_void_p
    library.tlplat_heads_create.argtypes = [ctypes.POINTER(_Problem)]
    library.tlplat_heads_run.argtypes = [c_void_p, c_double, c_int64]
    library.tlplat_heads_result.argtypes = library.tlplat_heads_free.argtypes = [c_void_p]
    library.tlplat_heads_result.restype = library.tlplat_heads_free.restype = None
    if library.tlplat_problem_size() != ctypes.sizeof(_Problem):
        raise PluginError("TL-EXT-ABI", "the native library has another layout", fix="rebuild: pip install -e .")
    return library
