"""What an HDF5 file holds, looked through before any of it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlplat.errors import ModelError, PluginError

MOST_OBJECTS = 200_000
TIMES, SPARE = 4, 64 << 20
"""Data sets may declare this many times the file's bytes, and this many more."""
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
"""Built into HDF5 by their numbers; any other would be loaded as code from a folder."""


def library() -> Any:
    """h5py, or PluginError TL-PLUGIN-EXTRA."""
    try:
        import h5py
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA",
            "models of Keras need the packages h5py and keras",
            found=str(error),
            fix="pip install 'tlplat[keras]'",
        ) from error
    return h5py


def check_objects(file: Any, size: int, path: Path) -> None:
    """Every group and data set: hard links alone, data inside the file, and no more of it than the file can hold.

    Raises:
        ModelError: TL-MODEL-PATH (soft or external links, external or virtual data sets), TL-MODEL-TOO-BIG (declares
            more than is stored), TL-MODEL-UNSAFE (a filter that is a plug-in).
    """
    h5py = library()
    declared, seen = 0, set()
    waiting = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            place = f"{path} > {group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise _outside(path, place, f"{type(link).__name__} to {getattr(link, 'path', '?')}")
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MOST_OBJECTS:
                raise _too_big(path, place, f"declares more than {MOST_OBJECTS} objects")
            if isinstance(found, h5py.Group):
                waiting.append(found)
            elif isinstance(found, h5py.Dataset):
                declared += _bytes(found, path, place)
                if declared > TIMES * size + SPARE:
                    stored = found.id.get_storage_size()
                    said = f"shape {found.shape} declares {found.nbytes} bytes, of which {stored} are stored"
                    raise _too_big(path, place, said)


def text_attribute(file: Any, name: str, most: int, path: Path) -> str:
    """An attribute of the file that holds text.

    Raises:
        ModelError TL-MODEL-INCOMPLETE: it has none, so that the file holds weights alone. TL-MODEL-TOO-BIG.
    """
    if name not in file.attrs:
        raise ModelError(
            "TL-MODEL-INCOMPLETE",
            f"{path.name} holds no {name}: weights without the model that they belong to",
            where=str(path),
            fix="save the whole model, not its weights: model.save('model.keras')",
        )
    about = file.attrs.get_id(name)
    if about.get_storage_size() > most or about.shape != ():
        raise _too_big(path, f"{path} > {name}", f"declares more than {most} bytes of text")
    value = file.attrs[name]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(text) > most:
        raise _too_big(path, f"{path} > {name}", f"declares more than {most} bytes of text")
    return text


def _bytes(dataset: Any, path: Path, place: str) -> int:
    """Bytes that the data set declares."""
    if dataset.is_virtual or dataset.external:
        files = [e[0] for e in dataset.external or ()] or [s.file_name for s in dataset.virtual_sources()]
        raise _outside(path, place, f"data in {', '.join(map(str, files[:3]))}")
    made = dataset.id.get_create_plist()
    used = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if any(number not in FILTERS for number in used):
        raise ModelError(
            "TL-MODEL-UNSAFE",
            f"{path.name} is refused: its data are packed by a plug-in of HDF5",
            where=place,
            found=f"filters {used}",
            expected=f"none, or {', '.join(FILTERS.values())}",
            fix="save the model again with model.save('model.keras')",
        )
    return int(dataset.nbytes)


def _outside(path: Path, place: str, found: str) -> ModelError:
    return ModelError(
        "TL-MODEL-PATH",
        f"{path.name} is refused: an object in it is a link, or lies outside of the file",
        where=place,
        found=found,
        fix="save the model again with model.save('model.keras')",
    )


def _too_big(path: Path, place: str, found: str) -> ModelError:
    return ModelError(
        "TL-MODEL-TOO-BIG",
        f"{path.name} declares more than is stored in it",
        where=place,
        found=found,
        fix="save the model again with model.save('model.keras')",
    )
