"""A Keras configuration as a graph of layers: sequential or functional, of Keras 3 or of what came before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tlplat.errors import ModelError
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.options import MOST, Options, WrongOptionError, read

MODELS = ("Functional", "Model", "Sequential")
MOST_LAYERS, MOST_DEPTH = 5000, 8
FLOATS = ("float32", "mixed_float16", "mixed_bfloat16")
INPUT = ""
"""Stands for the rows where a layer's inputs are named."""


@dataclass(frozen=True)
class Layer:
    """A layer: its name, class, options, and the layers that it reads (``INPUT``: the rows)."""

    name: str
    kind: str
    options: Options
    inputs: tuple[str, ...]

    def to_json(self) -> list[Any]:
        return [self.name, self.kind, self.options, list(self.inputs)]


@dataclass(frozen=True)
class Stored:
    """A layer's name and class in the file's order, which is how it numbers them; ``inner``: of a model inside."""

    name: str
    kind: str
    inner: tuple[Stored, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Layers in an order in which each comes after those that it reads; the last is the output.

    Attributes:
        shape: of a row, as Keras has it (channels last); None where it is any. sequential: a chain, and so in Keras.
        stored: all layers as the file holds them.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int | None, ...]
    sequential: bool
    stored: tuple[Stored, ...]


class Reading:
    """Reads one configuration; every refusal names the place."""

    def __init__(self, place: str, path: Path) -> None:
        self.place, self.path = place, path
        self.found: list[Layer] = []

    def graph(self, config: Any) -> Graph:
        """Raises ModelError TL-MODEL-UNSUPPORTED (a layer, an option, a form), TL-MODEL-CORRUPT (no configuration)."""
        try:
            if config["class_name"] not in MODELS:
                self.refuse(
                    f"the model has the class {str(config['class_name'])[:60]}; {', '.join(MODELS)} are supported"
                )
            shape = self._shape(config)
            self._model(config, INPUT, "")
            return self._done(shape, config["class_name"] == "Sequential", _stored(_entries(config)))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ModelError(
                "TL-MODEL-CORRUPT",
                f"{self.path.name} is damaged: its configuration is not as Keras writes it",
                where=self.place,
                found=f"{type(error).__name__} {str(error)[:60]}",
                fix="save the model again with model.save('model.keras')",
            ) from error

    def _model(self, entry: Mapping[str, Any], entering: str, prefix: str) -> str:
        """Put the layers of a model, named below ``prefix``, behind the layer ``entering``; returns the last one."""
        layers = _entries(entry)
        if prefix.count("/") > MOST_DEPTH or len(self.found) + len(layers) > MOST_LAYERS:
            self.refuse(f"it has more than {MOST_LAYERS} layers, or models inside models beyond {MOST_DEPTH}")
        if entry["class_name"] == "Sequential":
            for inner in layers:
                if inner["class_name"] != "InputLayer":
                    entering = self._part(inner["config"]["name"], inner, (entering,), prefix)
            return entering
        about = entry["config"]
        (source,), (output,) = self._ends(about["input_layers"]), self._ends(about["output_layers"])
        by_name = {inner["config"]["name"]: inner for inner in layers}
        reads: dict[str, list[str]] = {}
        for name, inner in by_name.items():
            if inner["class_name"] == "InputLayer":
                continue
            nodes = inner["inbound_nodes"]
            if len(nodes) != 1:
                self.refuse(f"the layer {name[:60]!r} is used {len(nodes)} times; one use is supported")
            reads[name] = self._reads(nodes[0], name)
        made = {source: entering}
        for name in self._ordered(output, reads, source):
            made[name] = self._part(name, by_name[name], tuple(made[n] for n in reads[name]), prefix)
        return made[output]

    def _part(self, name: str, entry: Mapping[str, Any], inputs: tuple[str, ...], prefix: str) -> str:
        """Put a layer, or the layers of a model inside, behind ``inputs``; returns the last one."""
        if entry["class_name"] in MODELS:
            if len(inputs) != 1:
                self.refuse(f"the model {name[:60]!r} inside has {len(inputs)} inputs")
            return self._model(entry, inputs[0], f"{prefix}{name}/")
        self.found.append(self._layer(f"{prefix}{name}", entry, inputs))
        return f"{prefix}{name}"

    def _shape(self, config: Mapping[str, Any]) -> Sequence[Any]:
        """Of a batch of rows, which the first layer says, or the model inside that stands there."""
        about, layers = config["config"], _entries(config)
        if config["class_name"] != "Sequential":
            (source,) = self._ends(about["input_layers"])
            layers = [entry for entry in layers if entry["config"]["name"] == source]
        first = layers[0]["config"]
        given = first.get("batch_shape") or first.get("batch_input_shape")
        if given is None and isinstance(about, dict):
            given = about.get("build_input_shape")
        if given is None and layers[0]["class_name"] in MODELS:
            given = self._shape(layers[0])
        if not isinstance(given, list):
            self.refuse("the model says no shape of its input: it was never built")
        return given

    def _done(self, shape: Sequence[Any], sequential: bool, stored: tuple[Stored, ...]) -> Graph:
        names = [layer.name for layer in self.found]
        sizes = tuple(shape)[1:]
        if not names or len(set(names)) < len(names) or INPUT in names:
            self.refuse("its layers have no names of their own")
        if not sizes or any(n is not None and (type(n) is not int or not 0 < n <= MOST) for n in sizes):
            self.refuse(f"rows of shape {str(sizes)[:60]} are not supported")
        chain = all(x.inputs == (before,) for x, before in zip(self.found, [INPUT, *names], strict=False))
        return Graph(tuple(self.found), sizes, sequential and chain, stored)

    def _layer(self, name: str, entry: Mapping[str, Any], inputs: tuple[str, ...]) -> Layer:
        called, config = entry["class_name"], entry["config"]
        module = entry.get("module")
        kind = KINDS.get(called) if isinstance(called, str) else None
        if kind is None or (module is not None and not module.startswith(("keras.layers", "keras.src.layers"))):
            raise ModelError(
                "TL-MODEL-UNSUPPORTED",
                f"the layer {str(name)[:60]!r} has the class {str(called)[:60]}, which is not supported",
                where=self.place,
                expected=f"supported layers: InputLayer, {', '.join(KINDS)}",
                fix="use a model of these layers, or give the model's torch code from Python (tlplat.transfer)",
            )
        policy = config.get("dtype")
        policy = policy["config"]["name"] if isinstance(policy, dict) else policy
        if policy is not None and policy not in FLOATS:
            self.refuse(f"the layer {name[:60]!r} computes in {str(policy)[:40]}; {', '.join(FLOATS)} are supported")
        if not inputs or (len(inputs) > 1 and not kind.merges):
            self.refuse(f"the layer {name[:60]!r} of the class {called} has {len(inputs)} inputs")
        try:
            return Layer(name, called, read(config, kind.options), inputs)
        except WrongOptionError as error:
            option = str(error)
            value = str(_at(config, option))[:60]
            self.refuse(f"the layer {name[:60]!r} of the class {called} has {option[:60]}={value}")

    def _reads(self, node: Any, name: str) -> list[str]:
        """Names of the layers that a node reads."""
        if isinstance(node, dict):
            given = node["args"][0] if len(node["args"]) == 1 else node["args"]
            self._plain_call(node.get("kwargs", {}), name)
            tensors = given if isinstance(given, list) else [given]
            refs = [t["config"]["keras_history"] for t in tensors]
        else:
            refs = node if isinstance(node[0], list) else [node]
            for ref in refs:
                self._plain_call(ref[3] if len(ref) > 3 else {}, name)
        if any(ref[1] != 0 or ref[2] != 0 for ref in refs):
            self.refuse(f"the layer {name[:60]!r} reads a second output")
        return [ref[0] for ref in refs]

    def _plain_call(self, further: Mapping[str, Any], name: str) -> None:
        """Nothing but ``training=False``, which is how every layer predicts."""
        if any(v is not None and not (k == "training" and v is False) for k, v in further.items()):
            self.refuse(f"the layer {name[:60]!r} is called with further arguments")

    def _ends(self, given: Any) -> list[str]:
        """The layers of ``[name, 0, 0]`` or ``[[name, 0, 0]]``."""
        found = [given] if given and isinstance(given[0], str) else list(given)
        if len(found) != 1:
            self.refuse(f"the model has {len(found)} inputs or outputs; one is supported")
        return [ref[0] for ref in found]

    def _ordered(self, output: str, reads: Mapping[str, Sequence[str]], source: str) -> list[str]:
        """The layers that the output needs, each after those that it reads."""
        order: list[str] = []
        state: dict[str, int] = {}
        waiting = [output]
        while waiting:
            name = waiting[-1]
            if state.get(name) == 2 or name == source:
                waiting.pop()
            elif state.get(name) == 1:
                waiting.pop()
                state[name] = 2
                order.append(name)
            else:
                state[name] = 1
                later = [n for n in reversed(reads[name]) if n != source and state.get(n) != 2]
                if any(state.get(n) == 1 for n in later):
                    self.refuse("its layers read each other in a circle")
                waiting += later
        return order

    def refuse(self, why: str) -> NoReturn:
        """TL-MODEL-UNSUPPORTED with the reason."""
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"{self.path.name} is not supported: {why}",
            where=self.place,
            fix="use one input, one output, each layer once; or give the model's torch code from Python",
        )


def _at(config: Any, option: str) -> Any:
    """The value of an option, or of ``OPTION.config.OPTION`` of a layer that is one."""
    for part in option.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _entries(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The layers of a model; Keras wrote them without more in its first years."""
    inner = entry["config"]
    found = inner if isinstance(inner, list) else inner["layers"]
    if not isinstance(found, list) or not all(isinstance(e["config"]["name"], str) for e in found if e["config"]):
        raise TypeError("layers without names")
    return found


def _stored(entries: Sequence[Mapping[str, Any]]) -> tuple[Stored, ...]:
    return tuple(
        Stored(
            e["config"]["name"],
            str(e["class_name"]),
            _stored(_entries(e)) if e["class_name"] in MODELS else (),
        )
        for e in entries
    )
