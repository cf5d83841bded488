"""Recurrent layers of Keras that torch.nn computes as well: SimpleRNN, LSTM, GRU, and both ways at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.kerasio import options as opt
from tlplat.kerasio.kinds import Kind, Weight, need_rank
from tlplat.kerasio.options import REQUIRED, Check, Options, WrongOptionError, read

Z_FIRST = (1, 0, 2)
"""Keras's GRU has the gates z, r, h; torch has r, z, n. It is its own inverse."""


class Recurrent(nn.Module):
    """(rows, channels, times) -> (rows, units, times), or of the last time (rows, units).

    Args:
        cell: of torch.nn, batch first. sequences: all times are given. dropout: of inputs, the same at all times.
    """

    def __init__(self, cell: nn.RNNBase, sequences: bool, dropout: float) -> None:
        super().__init__()
        self.drop, self.cell, self.sequences = nn.Dropout1d(dropout), cell, sequences

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # shapes alone: a loop over times that a file declares need not end
            found = x.new_empty(len(x), x.shape[2], self.cell.hidden_size * (1 + self.cell.bidirectional))
        else:
            found = self.cell(self.drop(x).movedim(1, 2))[0]
        if self.sequences:
            return found.movedim(2, 1)
        if not self.cell.bidirectional:
            return found[:, -1]
        forward, backward = found.chunk(2, dim=2)
        return torch.cat([forward[:, -1], backward[:, 0]], dim=1)

    def extra_repr(self) -> str:
        return f"sequences={self.sequences}"


def draw(cell: nn.RNNBase) -> None:
    """Keras's defaults: Glorot's uniform kernels, orthogonal ones between times, zeros as biases, one to forget."""
    for name, tensor in cell.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(tensor)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(tensor)
        else:
            nn.init.zeros_(tensor)
            if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
                with torch.no_grad():
                    tensor[cell.hidden_size : 2 * cell.hidden_size] = 1.0


def _share(value: Any) -> float:
    found = opt.number(value)
    if not 0 <= found < 1:
        raise WrongOptionError
    return found


_OFF = {name: (opt.one_of(False), False) for name in ("return_state", "go_backwards", "stateful")}
_COMMON: Mapping[str, tuple[Check, Any]] = {
    "units": (opt.count, REQUIRED),
    "use_bias": (opt.flag, True),
    "dropout": (_share, 0.0),
    "recurrent_dropout": (opt.one_of(0, 0.0), 0.0),
    "return_sequences": (opt.flag, False),
    **_OFF,
}
_GATES = {"activation": (opt.one_of("tanh"), "tanh"), "recurrent_activation": (opt.one_of("sigmoid"), "sigmoid")}
_OPTIONS: Mapping[str, Mapping[str, tuple[Check, Any]]] = {
    "GRU": {**_COMMON, **_GATES, "reset_after": (opt.one_of(True), REQUIRED)},
    "LSTM": {**_COMMON, **_GATES},
    "SimpleRNN": {**_COMMON, "activation": (opt.one_of("tanh", "relu"), "tanh")},
}


def _cell(kind: str, o: Options, wide: int, both: bool) -> nn.RNNBase:
    more = {"bias": o["use_bias"], "batch_first": True, "bidirectional": both}
    if kind == "SimpleRNN":
        return nn.RNN(wide, o["units"], nonlinearity=o["activation"], **more)
    return (nn.LSTM if kind == "LSTM" else nn.GRU)(wide, o["units"], **more)


def _built(kind: str, both: bool) -> Callable[[Options, Sequence[Tensor]], nn.Module]:
    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], 1)
        return Recurrent(_cell(kind, o, inputs[0].shape[1], both), o["return_sequences"], o["dropout"])

    return build


def _weights(kind: str, o: Options, ending: str = "_l0") -> list[Weight]:
    """Kernel (inputs, gates * units), the one between times, and the bias, of which torch has two."""
    turn = _gates_turned if kind == "GRU" else np.asarray
    found = [Weight(f"cell.weight_{name}{ending}", lambda a: turn(a.T), lambda a: turn(a).T) for name in ("ih", "hh")]
    if not o["use_bias"]:
        return found
    first, second = (f"cell.bias_{name}{ending}" for name in ("ih", "hh"))
    if kind == "GRU":
        both = Weight(first, lambda a: tuple(turn(b) for b in a), lambda a, b: np.stack([turn(a), turn(b)]), (second,))
    else:
        both = Weight(first, lambda a: (a, np.zeros_like(a)), lambda a, b: a + b, (second,))
    return [*found, both]


def _gates_turned(a: np.ndarray) -> np.ndarray:
    """Gates along the first dimension in the other order."""
    parts = np.split(a, 3)
    return np.concatenate([parts[i] for i in Z_FIRST])


def _kind(kind: str) -> Kind:
    return Kind(
        _OPTIONS[kind], _built(kind, False), lambda o: _weights(kind, o), _exported, folders=("vars", "cell/vars")
    )


def _exported(o: Options) -> Options:
    return {name: value for name, value in o.items() if name not in _OFF}


def _inner(backward: bool) -> Check:
    """The layer that is run one way, as ``{"kind": ..., "options": ...}``."""

    def check(value: Any) -> dict[str, Any]:
        kind = value.get("class_name") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in _OPTIONS or not isinstance(value.get("config"), dict):
            raise WrongOptionError
        config = dict(value["config"])
        if backward and config.pop("go_backwards", None) is not True:
            raise WrongOptionError("go_backwards")
        return {"kind": kind, "options": read(config, _OPTIONS[kind])}

    return check


def _both_built(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    layer = _alike(o)
    return _built(layer["kind"], True)(layer["options"], inputs)


def _alike(o: Options) -> dict[str, Any]:
    """The layer that is run forward; the other one must be the same."""
    if o["backward_layer"] is not None and o["backward_layer"] != o["layer"]:
        raise WrongOptionError("backward_layer")
    found: dict[str, Any] = o["layer"]
    return found


def _both_weights(o: Options) -> list[Weight]:
    kind, inner = o["layer"]["kind"], o["layer"]["options"]
    return [*_weights(kind, inner), *_weights(kind, inner, "_l0_reverse")]


def _both_exported(o: Options) -> Options:
    layer = o["layer"]
    return {"layer": {"kind": layer["kind"], "options": _exported(layer["options"])}, "merge_mode": o["merge_mode"]}


RECURRENT: Mapping[str, Kind] = {
    "Bidirectional": Kind(
        {
            "layer": (_inner(False), REQUIRED),
            "backward_layer": (opt.maybe(_inner(True)), None),
            "merge_mode": (opt.one_of("concat"), "concat"),
        },
        _both_built,
        _both_weights,
        _both_exported,
        folders=("vars", "forward_layer/cell/vars", "backward_layer/cell/vars"),
    ),
    "GRU": _kind("GRU"),
    "LSTM": _kind("LSTM"),
    "SimpleRNN": _kind("SimpleRNN"),
}
