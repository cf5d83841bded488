"""Real rows for the check of an export: the user's, or those that the run itself was tested on."""

from __future__ import annotations

from pathlib import Path

import torch

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.config import from_toml
from tlplat.data.examples import Batch
from tlplat.domain import DomainContext
from tlplat.errors import TlplatError, UsageError
from tlplat.modelio import LoadedModel
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.stage import load_registry, prepare

MOST = 16


def example_rows(folder: Path, loaded: LoadedModel, registry: Registry, data: Path | None, report: Reporter) -> Batch:
    """Up to 16 rows as the model takes them.

    Raises:
        UsageError TL-EXPORT-ROWS: no rows were given, and the run's own cannot be had.
    """
    if data is not None:
        domain = plugins.domain(loaded.manifest["domain"], registry)
        context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
        inputs = domain.encode(data, loaded.preprocess, context)[1]
    else:
        path = folder / "config.toml"
        if not path.exists():
            raise _no_rows(f"{folder} is a model alone, without the run's rows")
        try:
            config = from_toml(path)
            stage = prepare(config, load_registry(config), report, dry=True)
        except TlplatError as error:
            raise _no_rows(f"the run's own rows cannot be read again: {error.message}") from error
        view = next((v for v in stage.views if dict(v.target.preprocess) == dict(loaded.preprocess)), None)
        if view is None:
            raise _no_rows("the run's own rows cannot be encoded again as the model takes them")
        inputs = view.target.test.inputs
    count = min(len(inputs), MOST)
    if count < 2:
        raise _no_rows("at least two rows are needed")
    return inputs.take(torch.arange(count))


def _no_rows(said: str) -> UsageError:
    return UsageError(
        "TL-EXPORT-ROWS",
        f"an export is checked on real rows before it is written, and {said}",
        fix="give some with --data FILE, as for tlplat predict",
    )
