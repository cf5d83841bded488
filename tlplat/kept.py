"""Source models in folders: written by ``tlplat pretrain``, handed on, listed, and read back with a check."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlplat.errors import ModelError, TlplatError, UsageError
from tlplat.model import SourceModel
from tlplat.modelio import load_source, save_source
from tlplat.storage import read_json, sha256_file, write_json

SOURCE, WEIGHTS = "source.json", "model.safetensors"
INDEX = "kept-sources"
"""Below the cache: one file for each source that was written on this machine, with its place."""


@dataclass(frozen=True)
class KeptSource:
    """A source in a folder, described without its weights.

    Attributes:
        domain: that made it. path: the folder. predicts: the kind of task of its own head, or None.
        provenance: data, licence, citation, figures (JSON).
    """

    name: str
    domain: str | None
    path: Path
    predicts: str | None
    provenance: dict[str, Any]

    @property
    def summary(self) -> str:
        """Where it comes from, in a line."""
        rows, data = self.provenance.get("rows"), self.provenance.get("data", "data of yours")
        return f"pretrained on {data}" + (f" ({rows} rows)" if rows else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "domain": self.domain,
            "license": str(self.provenance.get("license", "")),
            "citation": str(self.provenance.get("citation", "")),
            "summary": self.summary,
            "path": str(self.path),
            "predicts": self.predicts,
            "provenance": self.provenance,
        }


def is_source(path: Path) -> bool:
    """Whether the folder holds a source that tlplat wrote."""
    return (path / SOURCE).is_file()


def describe(path: Path) -> KeptSource:
    """The source in the folder, its weights left alone.

    Raises:
        ModelError TL-MODEL-PATH: none is there.
    """
    if not is_source(path):
        raise ModelError(
            "TL-MODEL-PATH",
            f"{path} holds no source model",
            where=str(path / SOURCE),
            fix="name a folder that `tlplat pretrain` wrote: source.json, model.safetensors, manifest.json",
        )
    found = read_json(path / SOURCE)
    task = found["task"]
    return KeptSource(found["name"], found.get("domain"), path, task and task["kind"], found["provenance"])


def need_empty(folder: Path) -> None:
    """UsageError TL-OUT-EXISTS where the folder holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "TL-OUT-EXISTS",
            f"{folder}/ already holds something",
            where=str(folder),
            fix="name another folder with -o, or remove this one",
        )


def keep(source: SourceModel, folder: Path, domain: str, cache: Path, data: Path | None) -> SourceModel:
    """Write the source to the folder, and its place to the index of this machine; returns what was written.

    ``data``: the file it was trained on, whose hash is kept, so that no run takes its test rows from there.

    Raises:
        UsageError TL-OUT-EXISTS: the folder holds something already.
    """
    need_empty(folder)
    if data is not None:
        provenance = {"data": data.name, **source.provenance, "data_sha256": sha256_file(data)}
        source = dataclasses.replace(source, provenance=provenance)
    save_source(folder, source, domain)
    place = folder.resolve()
    name = hashlib.blake2b(str(place).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    write_json(cache / INDEX / f"{name}.json", {"path": str(place)})
    return source


def kept(cache: Path) -> Iterator[KeptSource]:
    """Sources that were written on this machine and are still there, by domain and name."""
    found = []
    for entry in (cache / INDEX).glob("*.json"):
        try:
            found.append(describe(Path(read_json(entry)["path"])))
        except (TlplatError, OSError, KeyError):  # moved, removed or damaged: not at hand
            continue
    yield from sorted(found, key=lambda k: (k.domain or "", k.name, str(k.path)))


def place_of(name: str, domain: str, cache: Path) -> Path | None:
    """The folder that ``--source name`` means: itself or that of its weights, or the one kept source of that name."""
    for path in (Path(name), *([Path(name).parent] if Path(name).name == WEIGHTS else [])):
        if is_source(path):
            return path
    places = [k.path for k in kept(cache) if (k.name, k.domain) == (name, domain)]
    if len(places) > 1:
        raise UsageError(
            "TL-SOURCE-TWICE",
            f"{len(places)} sources that were pretrained here are called {name}",
            found=", ".join(map(str, places)),
            fix="give --source the folder of the one that you mean",
        )
    return places[0] if places else None


def read_kept(path: Path, domain: str, data: Path | None) -> SourceModel:
    """The source in the folder, its checksums verified, for a run of the domain on ``data``.

    Raises:
        UsageError TL-SOURCE-DOMAIN: another domain made it. TL-LEAK-SOURCE: it was trained on the run's own data.
        ModelError TL-MODEL-CORRUPT: it is damaged.
    """
    about = describe(path)
    if about.domain not in (None, domain):
        raise UsageError(
            "TL-SOURCE-DOMAIN",
            f"the source in {path} was made by the domain {about.domain}, not {domain}",
            where=str(path),
            fix=f"run it with --domain {about.domain}, or choose one that `tlplat sources --domain {domain}` lists",
        )
    trained_on = about.provenance.get("data_sha256")
    if data is not None and data.is_file() and trained_on == sha256_file(data):
        raise UsageError(
            "TL-LEAK-SOURCE",
            f"the source in {path} was trained on {data.name} itself, so that it has seen every test row",
            where=str(path),
            fix="pretrain on other data than those that the run is to judge",
        )
    return load_source(path)
