"""Input checks of the ops: what is wrong, with the word that a user can search for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

STORAGE = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
COMPUTE = (torch.float32, torch.float64)
_PASSED: MutableMapping[Tensor, dict[Hashable, int]] = WeakTensorKeyDictionary()


def features(z: Tensor) -> None:
    """z is (n, d) in a floating dtype that the ops read."""
    if z.dtype not in STORAGE:
        raise TypeError(f"z has dtype {z.dtype}; the ops read float32, float64, bfloat16 and float16")
    if z.ndim != 2:
        raise ValueError(f"z must be (n, d), not {tuple(z.shape)}")
    if z.requires_grad:
        raise ValueError("z requires grad, but features are frozen here and get no gradient; pass z.detach()")


def compute_dtype(z: Tensor, given: torch.dtype | None = None) -> torch.dtype:
    """float64 for float64 z, else float32, or what was asked for."""
    dtype = given or (torch.float64 if z.dtype == torch.float64 else torch.float32)
    if dtype not in COMPUTE:
        raise TypeError(f"dtype {dtype} is not one to compute in: use float32 or float64")
    return dtype


def same_device(**tensors: Tensor | None) -> None:
    """All tensors lie on the device of the first."""
    given = [(name, t.device) for name, t in tensors.items() if t is not None]
    wrong = [f"{name} on {device}" for name, device in given if device != given[0][1]]
    if wrong:
        raise RuntimeError(
            f"all tensors must be on the same device: {given[0][0]} is on {given[0][1]}, but {', '.join(wrong)}"
        )


def shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name} must have shape {tuple(expected)}, not {tuple(tensor.shape)}")


def floating(name: str, tensor: Tensor, dtypes: Sequence[torch.dtype] = STORAGE) -> None:
    if tensor.dtype not in dtypes:
        raise TypeError(f"{name} has dtype {tensor.dtype}; use float32 or float64")


def label_tensor(y: Tensor, rows: int) -> Tensor:
    """y as (n,) int64; its values are checked by :func:`label_range`."""
    if y.dtype.is_floating_point or y.dtype.is_complex or y.dtype == torch.bool:
        raise TypeError(f"y has dtype {y.dtype}; labels are integers (int64), features float32")
    shape("y", y, (rows,))
    return y.to(torch.int64)


def label_range(y: Tensor, num_classes: int, ignore_index: int) -> None:
    """Every label is in [0, num_classes) or is the ignore index."""
    least, most = y.aminmax() if len(y) else (y.new_zeros(()), y.new_zeros(()))
    if bool((least >= 0) & (most < num_classes)):
        return
    wrong = ((y < 0) | (y >= num_classes)) & (y != ignore_index)
    if bool(wrong.any()):
        position = int(wrong.int().argmax())
        raise IndexError(
            f"label {int(y[position])} at position {position} is out of range [0, {num_classes}) "
            f"({int(wrong.sum())} such labels in all)"
        )


def kept_rows(y: Tensor, ignore_index: int) -> None:
    """Some row is not ignored."""
    if not bool((y != ignore_index).any()):
        raise ValueError("a mean over no rows: z is empty or every label is the ignore_index")


def once(tensor: Tensor, what: Hashable, check: Callable[[], None]) -> None:
    """Run a check of a tensor's values. On a GPU, where that waits for the GPU, only once until it is written to.

    What reaches the memory behind torch's back (through DLPack, say) is not seen.
    """
    if tensor.device.type == "cpu" or tensor.is_inference():
        return check()
    passed = _PASSED.setdefault(tensor, {})
    if passed.get(what) != tensor._version:
        check()
        passed[what] = tensor._version
    return None


def weights(name: str, tensor: Tensor, values: bool = True) -> None:
    """Weights are finite and not negative; without ``values`` (under torch.compile) only the dtype is checked."""
    floating(name, tensor)
    if values:
        once(tensor, "weights", lambda: _weight_values(name, tensor))


def _weight_values(name: str, tensor: Tensor) -> None:
    if not tensor.numel():
        return
    least, most = tensor.aminmax()  # NaN where any is NaN
    if not bool((least >= 0) & (most < torch.inf)):
        raise ValueError(f"{name} must be finite and not negative")


def smoothing(value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), not {value}")
