"""``fit_softmax_heads`` on a GPU: arguments as plain pointers, a workspace of torch's, and a loop that Ctrl-C stops."""

from __future__ import annotations

import ctypes
import math
from ctypes import c_char_p, c_double, c_int, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from tlplat.errors import PluginError, ResourceError
from tlplat.ops.problem import HeadProblem, HeadsFit

_STORAGE = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_SOLVERS = {"lbfgs": 0, "sgd": 1, "adamw": 2}
_SLICE_SECONDS = 0.2
"""How long the loop may run before Python looks for Ctrl-C."""


class _Fit(ctypes.Structure):
    """Mirrors TlplatCudaFit of csrc/heads/cuda/fit_problem.h."""

    _fields_ = (
        *(
            (name, c_void_p)
            for name in (
                "z", "y", "class_weight", "row_weight", "held_weight", "weight", "bias",
                "decay", "rate", "seed", "loss", "held_loss", "converged", "iterations",
            )
        ),
        *(
            (name, c_int64)
            for name in (
                "n", "d", "z_stride", "classes", "heads", "row_weight_stride", "held_weight_stride", "max_iter",
                "batch_size", "patience", "ignore_index",
            )
        ),
        *((name, c_double) for name in ("smoothing", "tol", "momentum", "beta1", "beta2", "eps")),
        *((name, c_int32) for name in ("z_dtype", "compute", "solver", "cosine")),
    )  # fmt: skip


def fit(p: HeadProblem, library: ctypes.CDLL) -> HeadsFit:
    """Fit the heads of ``p`` on z's device; what it returns and raises is said at :func:`tlplat.ops.fit_softmax_heads`.

    Work queued on the current stream is waited for; when this returns the results are there.
    """
    declare(library)
    by_seed = sorted(range(p.heads), key=lambda k: 0 if p.minibatch is None else p.minibatch.seed[k])
    problem, device, host, keep = _arguments(p, by_seed)
    index = p.z.device.index or 0
    stream = torch.cuda.current_stream(p.z.device).cuda_stream if p.z.device.type == "cuda" else None
    size = library.tlplat_cuda_fit_bytes(ctypes.byref(problem), index)
    if size < 0:
        raise _failed(library)
    try:
        workspace = torch.empty(size, dtype=torch.uint8, device=p.z.device)
    except torch.OutOfMemoryError as error:
        said = f"the fit on the GPU needs {size / 1e9:.2f} GB besides its inputs"
        raise ResourceError("TL-OOM", said, fix="fit fewer heads in a call") from error
    handle = library.tlplat_cuda_fit_create(ctypes.byref(problem), workspace.data_ptr(), index, stream)
    if not handle:
        raise _failed(library)
    back = torch.tensor(sorted(range(p.heads), key=by_seed.__getitem__))
    try:
        state = 0
        while state == 0:
            state = library.tlplat_cuda_fit_run(handle, _SLICE_SECONDS, (1 << 62) if p.on_epoch is None else 1)
            if state < 0:
                raise _failed(library)
            if p.on_epoch is not None:
                if library.tlplat_cuda_fit_result(handle) < 0:
                    raise _failed(library)
                if p.on_epoch(int(host["iterations"].max()), host["loss"][back].to(p.compute)):
                    break
        if library.tlplat_cuda_fit_result(handle) < 0:
            raise _failed(library)
    finally:
        library.tlplat_cuda_fit_free(handle)
    del keep, workspace
    on = p.z.device
    return HeadsFit(
        device["weight"][back.to(on)],
        device["bias"][back.to(on)],
        host["loss"][back].to(on, p.compute),
        host["converged"][back].bool().to(on),
        host["iterations"][back].to(on),
        host["held_loss"][back].to(on, p.compute),
    )


def declare(library: ctypes.CDLL) -> None:
    """Set the functions' types.

    Raises:
        PluginError: TL-EXT-ABI, the library's structure has another layout.
    """
    library.tlplat_cuda_fit_bytes.restype = c_int64
    library.tlplat_cuda_fit_bytes.argtypes = [ctypes.POINTER(_Fit), c_int]
    library.tlplat_cuda_fit_create.restype = c_void_p
    library.tlplat_cuda_fit_create.argtypes = [ctypes.POINTER(_Fit), c_void_p, c_int, c_void_p]
    library.tlplat_cuda_fit_run.argtypes = [c_void_p, c_double, c_int64]
    library.tlplat_cuda_fit_result.argtypes = library.tlplat_cuda_fit_free.argtypes = [c_void_p]
    library.tlplat_cuda_fit_free.restype = None
    library.tlplat_cuda_error.restype = c_char_p
    if library.tlplat_cuda_fit_size() != ctypes.sizeof(_Fit):
        raise PluginError("TL-EXT-ABI", "the CUDA library has another layout", fix="rebuild: pip install -e .")


def _arguments(p: HeadProblem, by_seed: list[int]) -> tuple[_Fit, dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
    """The C structure, its results on the device and on the host, and the inputs that must stay alive."""
    z = p.z if p.z.shape[1] < 2 or p.z.stride(1) == 1 else p.z.contiguous()
    order, m = torch.tensor(by_seed, device=z.device), p.minibatch
    class_weight = p.row_loss.class_weight
    inputs: dict[str, Tensor | None] = {
        "z": z,
        "y": p.y.contiguous(),
        "class_weight": None if class_weight is None else class_weight.to(p.compute).contiguous(),
        "row_weight": _rows(p.sample_weight, order, p.compute),
        "held_weight": _rows(p.validation_weight, order, p.compute),
        "decay": p.weight_decay.double()[by_seed].contiguous(),
        "rate": None if m is None else m.learning_rate.double()[by_seed].contiguous(),
        "seed": None if m is None else torch.tensor([m.seed[k] for k in by_seed], dtype=torch.int64),
    }
    device = {"weight": p.weight[order].contiguous(), "bias": p.bias[order].contiguous()}
    host = {
        "loss": torch.full((p.heads,), math.nan, dtype=torch.float64),
        "held_loss": torch.full((p.heads,), math.nan, dtype=torch.float64),
        "converged": torch.zeros(p.heads, dtype=torch.uint8),
        "iterations": torch.zeros(p.heads, dtype=torch.int64),
    }
    pointers = {name: None if t is None else t.data_ptr() for name, t in (inputs | device | host).items()}
    problem = _Fit(**pointers)
    problem.n, problem.d, problem.classes, problem.heads = len(z), z.shape[1], p.num_classes, p.heads
    problem.z_stride, problem.ignore_index = z.stride(0), p.row_loss.ignore_index
    for name in ("row_weight", "held_weight"):
        rows = inputs[name]
        setattr(problem, f"{name}_stride", 0 if rows is None or len(rows) == 1 else rows.shape[1])
    problem.max_iter, problem.tol, problem.smoothing = p.max_iter, p.tol, p.row_loss.label_smoothing
    problem.z_dtype, problem.compute, problem.solver = _STORAGE[z.dtype], _STORAGE[p.compute], _SOLVERS[p.solver]
    problem.batch_size = len(z)
    if m is not None:
        problem.batch_size, problem.patience = min(m.batch_size, len(z)), m.patience
        problem.momentum, problem.eps = m.momentum, m.eps
        (problem.beta1, problem.beta2), problem.cosine = m.betas, int(m.schedule == "cosine")
    return problem, device, host, [t for t in inputs.values() if t is not None]


def _rows(w: Tensor | None, order: Tensor, dtype: torch.dtype) -> Tensor | None:
    if w is None:
        return None
    return (w if len(w) == 1 else w[order]).to(dtype).contiguous()


def _failed(library: ctypes.CDLL) -> Exception:
    said = library.tlplat_cuda_error().decode("utf-8", "replace")
    if "memory" in said:
        return ResourceError("TL-OOM", f"the fit on the GPU failed: {said}", fix="fit fewer heads in a call")
    return RuntimeError(f"the fit on the GPU failed: {said}")
