"""Options of layers in a Keras configuration: each is checked by value, and one that is not known refuses the layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

MOST = 1 << 24
"""Widths, sizes and paddings beyond are no network's."""
ACTIVATIONS = (
    "elu",
    "gelu",
    "hard_silu",
    "leaky_relu",
    "linear",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
)
NEUTRAL = (
    "autocast",
    "batch_input_shape",
    "batch_shape",
    "dtype",
    "implementation",
    "input_length",
    "name",
    "renorm_momentum",
    "seed",
    "synchronized",
    "trainable",
    "unit_forget_bias",
    "unroll",
    "zero_output_for_mask",
)
NEUTRAL_ENDS = ("_initializer", "_regularizer", "_constraint")
"""Options that leave what the trained layer computes as it is."""

Check = Callable[[Any], Any]
Options = dict[str, Any]


class WrongOptionError(ValueError):
    """An option whose value is not one that is read."""


def count(value: Any) -> int:
    """A positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        raise WrongOptionError
    return value


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WrongOptionError
    return float(value)


def maybe(check: Check) -> Check:
    """None, or what ``check`` takes."""
    return lambda value: None if value is None else check(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongOptionError
    return value


def one_of(*known: Any) -> Check:
    """One of the values."""

    def check(value: Any) -> Any:
        plain = tuple(value) if isinstance(value, list) else value
        if not any(type(plain) is type(k) and plain == k for k in known):
            raise WrongOptionError
        return value

    return check


def alone(check: Check, known: Any) -> Check:
    """What ``check`` takes, where it comes to ``known``."""

    def checked(value: Any) -> Any:
        found = check(value)
        if found != known:
            raise WrongOptionError
        return found

    return checked


def sizes(rank: int) -> Check:
    """``rank`` positive integers, or one for all."""

    def check(value: Any) -> list[int]:
        found = list(value) if isinstance(value, list | tuple) else [value] * rank
        if len(found) != rank:
            raise WrongOptionError
        return [count(v) for v in found]

    return check


def margins(rank: int) -> Check:
    """Padding before and after, for each dimension: an integer, one a dimension, or a pair a dimension."""

    def check(value: Any) -> list[list[int]]:
        found = list(value) if isinstance(value, list | tuple) else [value] * rank
        if rank == 1 and len(found) == 2 and all(isinstance(v, int) for v in found):
            found = [found]
        pairs = [list(v) if isinstance(v, list | tuple) else [v, v] for v in found]
        whole = all(type(v) is int and 0 <= v <= MOST for pair in pairs for v in pair)
        if len(pairs) != rank or not whole or any(len(pair) != 2 for pair in pairs):
            raise WrongOptionError
        return pairs

    return check


def numbers(value: Any) -> float | list[float]:
    """A number, or one for each channel."""
    return [number(v) for v in value] if isinstance(value, list) and value else number(value)


def axis(value: Any) -> int:
    """One dimension, as an integer or a list of one."""
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(found, bool) or not isinstance(found, int) or not -8 < found < 8:
        raise WrongOptionError
    return found


def activation(value: Any) -> str:
    """The name of an activation of Keras's own."""
    if value is None:
        return "linear"
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise WrongOptionError
    return value


def shape(value: Any) -> list[int]:
    """Positive integers, one of which may be -1."""
    if not isinstance(value, list | tuple) or not value or list(value).count(-1) > 1:
        raise WrongOptionError
    return [v if v == -1 else count(v) for v in value]


def read(config: Mapping[str, Any], known: Mapping[str, tuple[Check, Any]]) -> Options:
    """The layer's options with defaults for those that are absent.

    An option that is not known is passed over where it is off (None, False).

    Raises:
        WrongOptionError: the option, as its text; a value that is not read, or an option that is not known.
    """
    for name, value in config.items():
        neutral = name in known or name in NEUTRAL or name.endswith(NEUTRAL_ENDS)
        if not neutral and value is not None and value is not False:
            raise WrongOptionError(name)
    found = {}
    for name, (check, default) in known.items():
        try:
            found[name] = check(config[name]) if name in config else default
        except WrongOptionError as error:
            inner = f".config.{error}" if str(error) else ""
            raise WrongOptionError(f"{name}{inner}") from None
        if name not in config and default is REQUIRED:
            raise WrongOptionError(name)
    return found


REQUIRED: Any = object()
"""The default of an option that must be there."""
