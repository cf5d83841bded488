"""A Keras configuration as a graph of layers: sequential or functional, of Keras 3 or of what came before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tlplat.errors import ModelError
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.options import MOST, Options, WrongOptionError, read

MOST_LAYERS = 5000
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
class Graph:
    """Layers in an order in which each comes after those that it reads; the last is the output.

    Attributes:
        shape: of a row, as Keras has it (channels last); None where it is any. stored: (name, class) of all layers in
            the file's order, which is how it numbers them.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int | None, ...]
    sequential: bool
    stored: tuple[tuple[str, str], ...]


class Reading:
    """Reads one configuration; every refusal names the place."""

    def __init__(self, place: str, path: Path) -> None:
        self.place, self.path = place, path

    def graph(self, config: Any) -> Graph:
        """Raises ModelError TL-MODEL-UNSUPPORTED (a layer, an option, a form), TL-MODEL-CORRUPT (no configuration)."""
        try:
            kind, inner = config["class_name"], config["config"]
            layers = inner if isinstance(inner, list) else inner["layers"]
            if not isinstance(layers, list) or len(layers) > MOST_LAYERS:
                self.refuse(f"it has no list of at most {MOST_LAYERS} layers")
            if kind == "Sequential":
                return self._sequential(layers, inner if isinstance(inner, dict) else {})
            if kind in ("Functional", "Model"):
                return self._functional(layers, inner)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(
                "TL-MODEL-CORRUPT",
                f"{self.path.name} is damaged: its configuration is not as Keras writes it",
                where=self.place,
                found=f"{type(error).__name__} {str(error)[:60]}",
                fix="save the model again with model.save('model.keras')",
            ) from error
        self.refuse(f"the model has the class {str(kind)[:60]}; Sequential and Functional are supported")

    def _sequential(self, layers: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Graph:
        shape = about.get("build_input_shape")
        found: list[Layer] = []
        for entry in layers:
            config = entry["config"]
            given = config.get("batch_shape") or config.get("batch_input_shape")
            shape = given if given and not found else shape
            if entry["class_name"] != "InputLayer":
                found.append(self._layer(config["name"], entry, (found[-1].name if found else INPUT,)))
        if shape is None:
            self.refuse("the model says no shape of its input: it was never built")
        return self._done(found, shape, True, layers)

    def _functional(self, layers: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Graph:
        (source,), (output,) = self._ends(about["input_layers"]), self._ends(about["output_layers"])
        by_name = {entry["config"]["name"]: entry for entry in layers}
        shape = by_name[source]["config"].get("batch_shape") or by_name[source]["config"]["batch_input_shape"]
        reads: dict[str, tuple[str, ...]] = {}
        for name, entry in by_name.items():
            if entry["class_name"] == "InputLayer":
                continue
            nodes = entry["inbound_nodes"]
            if len(nodes) != 1:
                self.refuse(f"the layer {name[:60]!r} is used {len(nodes)} times; one use is supported")
            reads[name] = tuple(INPUT if n == source else n for n in self._reads(nodes[0], name))
        order = self._ordered(output, reads)
        found = [self._layer(name, by_name[name], reads[name]) for name in order]
        return self._done(found, shape, False, layers)

    def _done(
        self, found: Sequence[Layer], shape: Sequence[Any], sequential: bool, layers: Sequence[Mapping[str, Any]]
    ) -> Graph:
        names = [layer.name for layer in found]
        sizes = tuple(shape)[1:]
        if not found or len(set(names)) < len(names) or INPUT in names or any(not isinstance(n, str) for n in names):
            self.refuse("its layers have no names of their own")
        if not sizes or any(n is not None and (type(n) is not int or not 0 < n <= MOST) for n in sizes):
            self.refuse(f"rows of shape {str(sizes)[:60]} are not supported")
        stored = tuple((entry["config"]["name"], entry["class_name"]) for entry in layers)
        return Graph(tuple(found), sizes, sequential, stored)

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
            value = str(config.get(option))[:60]
            self.refuse(f"the layer {name[:60]!r} of the class {called} has {option[:40]}={value}")

    def _reads(self, node: Any, name: str) -> list[str]:
        """Names of the layers that a node reads."""
        if isinstance(node, dict):
            given = node["args"][0] if len(node["args"]) == 1 else node["args"]
            if any(value is not None for value in node.get("kwargs", {}).values()):
                self.refuse(f"the layer {name[:60]!r} is called with further arguments")
            tensors = given if isinstance(given, list) else [given]
            refs = [t["config"]["keras_history"] for t in tensors]
        else:
            refs = node if isinstance(node[0], list) else [node]
            if any(len(ref) > 3 and ref[3] for ref in refs):
                self.refuse(f"the layer {name[:60]!r} is called with further arguments")
        if any(ref[1] != 0 or ref[2] != 0 for ref in refs):
            self.refuse(f"the layer {name[:60]!r} reads a second output")
        return [ref[0] for ref in refs]

    def _ends(self, given: Any) -> list[str]:
        """The layers of ``[name, 0, 0]`` or ``[[name, 0, 0]]``."""
        found = [given] if given and isinstance(given[0], str) else list(given)
        if len(found) != 1:
            self.refuse(f"the model has {len(found)} inputs or outputs; one is supported")
        return [ref[0] for ref in found]

    def _ordered(self, output: str, reads: Mapping[str, tuple[str, ...]]) -> list[str]:
        """The layers that the output needs, each after those that it reads."""
        order: list[str] = []
        state: dict[str, int] = {}
        waiting = [output]
        while waiting:
            name = waiting[-1]
            if state.get(name) == 2 or name == INPUT:
                waiting.pop()
            elif state.get(name) == 1:
                waiting.pop()
                state[name] = 2
                order.append(name)
            else:
                state[name] = 1
                later = [n for n in reversed(reads[name]) if n != INPUT and state.get(n) != 2]
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
