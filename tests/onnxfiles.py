"""ONNX files made by hand for tests: a perceptron, and a small convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Change = Callable[[Any], None]


def perceptron(
    path: Path, inputs: int, hidden: int = 5, classes: int = 2, change: Change = lambda model: None, kind: str = "FLOAT"
) -> Path:
    """x (rows, inputs) -> Gemm, Relu -> Gemm -> y (rows, classes); ``change`` sees the model before it is written."""
    shapes = {"w1": (inputs, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
    cast = [] if kind == "FLOAT" else [("Cast", ["x"], ["xf"], {"to": 1})]
    nodes = [
        *cast,
        ("Gemm", ["xf" if cast else "x", "w1", "b1"], ["h"], {"name": "first"}),
        ("Relu", ["h"], ["z"], {"name": "relu"}),
        ("Gemm", ["z", "w2", "b2"], ["y"], {"name": "head"}),
    ]
    return written(path, nodes, shapes, ["rows", inputs], ["rows", classes], change, kind)


def convnet(path: Path, shape: Sequence[int | str], change: Change = lambda model: None) -> Path:
    """x (rows, channels, height, width) -> Conv, Relu -> mean -> Gemm -> y (rows, 2); ``shape`` is that of x."""
    shapes = {"w1": (6, int(shape[1]), 3, 3), "b1": (6,), "w2": (6, 2), "b2": (2,)}
    nodes: list[Any] = [
        ("Conv", ["x", "w1", "b1"], ["c"], {"strides": [2, 2]}),
        ("Relu", ["c"], ["r"], {}),
        ("GlobalAveragePool", ["r"], ["p"], {}),
        ("Flatten", ["p"], ["f"], {}),
        ("Gemm", ["f", "w2", "b2"], ["y"], {}),
    ]
    return written(path, nodes, shapes, shape, ["rows", 2], change)


def written(
    path: Path,
    nodes: Sequence[Any],
    shapes: Mapping[str, tuple[int, ...]],
    given: Sequence[int | str],
    gives: Sequence[int | str],
    change: Change = lambda model: None,
    kind: str = "FLOAT",
) -> Path:
    """A graph from ``x`` to ``y`` with normal weights of a fixed seed."""
    import onnx

    g = np.random.default_rng(0)
    weights = [onnx.numpy_helper.from_array(g.normal(size=s).astype("f"), n) for n, s in shapes.items()]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, reads, makes, **options) for op, reads, makes, options in nodes],
        "graph",
        [value("x", getattr(onnx.TensorProto, kind), given)],
        [value("y", onnx.TensorProto.FLOAT, gives)],
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def blind(weight: str, places: Sequence[int]) -> Change:
    """A ``change`` that sets rows of ``weight`` to zero: the graph cannot see these inputs."""

    def change(model: Any) -> None:
        import onnx

        (tensor,) = (t for t in model.graph.initializer if t.name == weight)
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[list(places)] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, weight))

    return change
