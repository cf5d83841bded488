"""What the suites share: a registry with toy data and the plugin under test, results kept once, a fresh process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from tlplat import plugins
from tlplat.data.examples import TensorInputs
from tlplat.features import apply_in_batches
from tlplat.modelio import load_model
from tlplat.registry import Registry
from tlplat.storage import read_tensors, write_tensors
from tlplat.testing import toy, varied

Made = TypeVar("Made")
SECONDS = 120
"""For what a fresh process may take."""


class Suite:
    """Base of the suites.

    Attributes:
        expected_failures: checks that cannot hold, by name, each with the reason: ``{"test_x": "why"}``. Such a check
            must fail; one that passes is reported.
    """

    expected_failures: ClassVar[dict[str, str]] = {}
    _made: ClassVar[dict[Any, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._made = {}

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """What ``make`` gave the first time that the class's checks asked for ``key``: fits are dear."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found


def built_in(group: str) -> list[str]:
    """Names of tlplat's own plugins of a group, from metadata."""
    return [e.name for e in plugins.discover() if (e.group, e.distribution) == (group, "tlplat")]


def kit_registry(group: str | None = None, name: str | None = None) -> Registry:
    """The toy domains, tlplat's own strategies and tasks, and the plugin ``name`` through its entry point."""
    registry = Registry()
    for module in (toy, varied):
        for kind, classes in (
            ("domains", module.tlplat_register_domains()),
            ("backbones", module.tlplat_register_backbones()),
        ):
            for cls in classes:
                registry.add(kind, cls, "tlplat-toy 1.0", ("domains", "toy"))
    for kind in ("strategies", "tasks"):
        plugins.load(kind, built_in(kind), registry)
    return plugins.load(group, [name], registry) if group is not None and name is not None else registry


def check_installed(group: str, cls: Any) -> None:
    """The entry point of the class's name must give this very class."""
    known = [e.name for e in plugins.discover() if e.group == group]
    assert cls.name in known, (
        f"no entry point {cls.name!r} in the group tlplat.{group}: add it to pyproject.toml and `pip install -e .`"
    )
    found = plugins.load(group, [cls.name]).get(group, cls.name)
    assert found is cls, f"the entry point {cls.name!r} gives {found}, and the suite was given {cls}"


def predictions_of_a_fresh_process(folder: Path, inputs: Tensor, group: str, name: str) -> np.ndarray:
    """Decoded predictions of the model saved in ``folder``, loaded by a process that has seen nothing of this one."""
    write_tensors(folder / "asked.safetensors", {"inputs": inputs})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_predict, args=(str(folder), group, name, there), daemon=True)
    child.start()
    there.close()
    try:
        assert here.poll(SECONDS), f"a fresh process took more than {SECONDS} seconds to load the model and predict"
        return np.frombuffer(here.recv_bytes()).reshape(len(inputs), -1)
    except EOFError:
        raise AssertionError("a fresh process could not load the model and predict; see its error above") from None
    finally:
        child.join(SECONDS)


def _predict(folder: str, group: str, name: str, answer: Any) -> None:
    """In the child."""
    torch.set_num_threads(1)
    loaded = load_model(Path(folder) / "model", kit_registry(group, name))
    inputs, _ = read_tensors(Path(folder) / "asked.safetensors")
    outputs = apply_in_batches(loaded.model, loaded.model, TensorInputs(inputs["inputs"]))
    answer.send_bytes(np.ascontiguousarray(loaded.task.decode(outputs), dtype=np.float64).tobytes())
