"""An adapted model written by Keras itself, as the layers that it came from, with a head for the new task."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.errors import ModelError, PluginError
from tlplat.kerasio.backbone import KerasBackbone
from tlplat.kerasio.graph import INPUT
from tlplat.kerasio.layers import KINDS
from tlplat.modelio import LoadedModel
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression

BACKEND = "KERAS_BACKEND"
HEAD, POOLED = "head", "pooled"


def library() -> Any:
    """keras, on torch unless the process or the environment chose otherwise.

    Raises:
        PluginError TL-PLUGIN-EXTRA: it is not installed.
    """
    chosen = os.environ.get(BACKEND)
    if "keras" not in sys.modules:
        os.environ[BACKEND] = chosen or "torch"  # read once, by the import
    try:
        with warnings.catch_warnings():  # whose filters it changes
            return importlib.import_module("keras")
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA",
            "writing models of Keras needs the packages keras and h5py",
            found=str(error),
            fix="pip install 'tlplat[keras]'",
        ) from error
    finally:
        if chosen is None:
            os.environ.pop(BACKEND, None)


def export_keras(loaded: LoadedModel, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Write the model through Keras, as ``.h5`` or ``.keras`` by the path's ending, with layers of the same names.

    It predicts what the task decodes: probabilities (rows, classes), or numbers (rows, 1) in the target's unit.

    Returns:
        What predicts with the written file, read back by ``keras.models.load_model``: rows (n, ...) -> (n, outputs).

    Raises:
        ModelError TL-MODEL-UNSUPPORTED: the source was no Keras model, a strategy left another structure than its
            layers and a linear head, or the task has another kind of output. PluginError TL-PLUGIN-EXTRA.
    """
    backbone, head = _plain_parts(loaded)
    weight, bias, activation = _output(loaded, head)
    keras = library()
    with _quiet():
        model = _built(keras, backbone, weight, bias, activation)
        model.save(path)
        again = keras.models.load_model(path, compile=False)

    def predict(rows: np.ndarray) -> np.ndarray:
        with _quiet():
            return np.asarray(again.predict_on_batch(rows))

    return predict


def _plain_parts(loaded: LoadedModel) -> tuple[KerasBackbone, nn.Linear]:
    model = loaded.model
    if not isinstance(model.backbone, KerasBackbone):
        _refuse(f"its source is a backbone {model.backbone.name}, not a file of Keras's")
    plain = KerasBackbone(**model.base.args, materialise=False)
    here, there = _structure(model.backbone), _structure(plain)
    if here != there:
        edits = ", ".join(e.name for e in model.edits) or "none is recorded"
        other = sorted({name for name, _ in here.items() ^ there.items()})
        _refuse(f"its structure is another than the source's at {', '.join(other[:3])} (edits: {edits})")
    if type(model.head) is not nn.Linear or model.head.in_features != plain.feature_dim:
        _refuse(f"its head is {' '.join(str(model.head).split())[:80]}, not one linear layer")
    return model.backbone, model.head


def _structure(module: nn.Module) -> dict[str, str]:
    found = {f"{name or 'backbone'} (module)": str(m) for name, m in module.named_modules() if not list(m.children())}
    return found | {name: str(tuple(t.shape)) for name, t in module.state_dict().items()}


def _output(loaded: LoadedModel, head: nn.Linear) -> tuple[Tensor, Tensor, str]:
    """Weight, bias and activation of the output layer, so that it gives what the task decodes."""
    weight = head.weight.detach().double().cpu()
    bias = torch.zeros(len(weight)).double() if head.bias is None else head.bias.detach().double().cpu()
    task = loaded.task
    if isinstance(task, Classification):
        return weight, bias, "sigmoid" if task.multi_label else "softmax"
    if isinstance(task, Regression):
        mean, deviation = task.scale or (0.0, 1.0)
        return weight * deviation, bias * deviation + mean, "linear"
    _refuse(f"the task {task.name} has outputs that no single layer of Keras gives")


def _built(keras: Any, backbone: KerasBackbone, weight: Tensor, bias: Tensor, activation: str) -> Any:
    """The Keras model with the weights."""
    made: dict[str, Any] = {}
    for layer in backbone.layers:
        made[layer.name] = _layer(keras, layer.kind, KINDS[layer.kind].exported(layer.options), _named(layer.name))
    taken = {_named(name) for name in made}
    called = _free(_named(backbone.head.name) if backbone.head is not None else HEAD, taken)
    dense = keras.layers.Dense(len(weight), activation=activation, name=called, dtype="float32")
    rank = backbone.ranks[backbone.layers[-1].name if backbone.layers else INPUT]
    ends = [dense]
    if rank > 2:
        pool = getattr(keras.layers, f"GlobalAveragePooling{rank - 2}D")
        ends.insert(0, pool(name=_free(POOLED, taken | {called}), dtype="float32"))
    rows = keras.Input(backbone.shape, dtype="float32")
    if backbone.sequential:
        model = keras.Sequential([rows, *made.values(), *ends])
    else:
        known = {INPUT: rows}
        for layer in backbone.layers:
            inputs = [known[name] for name in layer.inputs]
            known[layer.name] = made[layer.name](inputs[0] if len(inputs) == 1 else inputs)
        x = known[backbone.layers[-1].name if backbone.layers else INPUT]
        for end in ends:
            x = end(x)
        model = keras.Model(rows, x)
    state, places = backbone.state_dict(), backbone.places()
    for layer in backbone.layers:
        weights = KINDS[layer.kind].weights(KINDS[layer.kind].exported(layer.options))
        here = places[layer.name]
        made[layer.name].set_weights([w.save(*(state[here + t].cpu().numpy() for t in w.tensors)) for w in weights])
    dense.set_weights([weight.T.float().numpy(), bias.float().numpy()])
    return model


def _layer(keras: Any, kind: str, options: Mapping[str, Any], name: str | None = None) -> Any:
    """A layer of Keras's; an option that is a layer itself is made first."""
    plain = {k: _layer(keras, v["kind"], v["options"]) if isinstance(v, dict) else v for k, v in options.items()}
    return getattr(keras.layers, kind)(name=name, dtype="float32", **plain)


def _named(name: str) -> str:
    """Keras 3 takes no slash in a name."""
    return name.replace("/", "_")


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keras warns of its own calls of numpy, and of the format ``.h5``."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        absl.setLevel(level)


def _refuse(why: str) -> NoReturn:
    raise ModelError(
        "TL-MODEL-UNSUPPORTED",
        f"the model cannot be written as a Keras model: {why}",
        fix="run with strategies that keep the source's layers (full_ft, lora, bitfit, ...), or choose another format",
    )
