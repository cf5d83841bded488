"""A Keras file of the user's, opened: size, magic bytes, archive members and HDF5 objects are checked before a read.

Keras itself never sees the file: its loaders import what the configuration names and read files that it points to
(CVE-2025-1550, CVE-2025-12058), and allocate what a data set declares (CVE-2026-0897).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tlplat.archives import check_member
from tlplat.disk import read_errors
from tlplat.errors import ModelError
from tlplat.kerasio.hdf5 import check_objects, library, text_attribute
from tlplat.tensorfile import damaged

HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MOST_BYTES = 8 << 30
MOST_JSON = 32 << 20
MOST_RATIO = 100
"""Keras stores its members uncompressed; an archive that swells more than this is a bomb."""


@dataclass(frozen=True)
class Opened:
    """A file whose outside is checked; the configuration is not yet.

    Attributes:
        config: what it says of the model (JSON). place: of the configuration, for errors.
        file: the open HDF5 file. legacy: it is an ``.h5``, whose weights lie by the layers' names.
    """

    path: Path
    config: Any
    place: str
    file: Any
    legacy: bool


def is_keras(path: Path) -> bool:
    """Whether the file is HDF5, or an archive with a model of Keras's, by content; or says so by its name."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(8)
    if head == HDF5 or path.suffix in (".h5", ".hdf5", ".keras"):
        return True
    if not head.startswith(ZIP):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file, as far as it can be trusted without its configuration.

    Raises:
        ModelError: TL-MODEL-CORRUPT (empty, truncated, neither format), TL-MODEL-TOO-BIG (a bomb), TL-MODEL-PATH (a
            member or an object that lies outside), TL-MODEL-INCOMPLETE (weights alone, or none).
        PluginError TL-PLUGIN-EXTRA: h5py is not installed. ResourceError TL-IO-READ.
    """
    with read_errors(path), open(path, "rb") as raw:
        size = path.stat().st_size
        head = raw.read(8)
    if size > MOST_BYTES:
        raise _too_big(path, f"{path.name} has {size} bytes", f"at most {MOST_BYTES}")
    if head == HDF5:
        with _hdf5(path, path, size) as file:
            said = text_attribute(file, "model_config", MOST_JSON, path)
            yield Opened(path, _json(said, path, "model_config"), f"{path} > model_config", file, legacy=True)
    elif head.startswith(ZIP):
        text, weights = _members(path, size)
        config = _json(text, path, CONFIG)
        with _hdf5(path, io.BytesIO(weights), len(weights)) as file:
            yield Opened(path, config, f"{path} > {CONFIG}", file, legacy=False)
    else:
        raise corrupt(path, "it has 0 bytes" if not size else "it is neither HDF5 nor a .keras archive")


@contextmanager
def _hdf5(path: Path, content: Path | IO[bytes], size: int) -> Iterator[Any]:
    h5py = library()
    try:
        file = h5py.File(content, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise corrupt(path, f"it is truncated or no whole HDF5 file ({str(error).splitlines()[0][:120]})") from error
    with file:
        try:
            check_objects(file, size, path)
            yield file
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise corrupt(path, f"its HDF5 objects cannot be read ({type(error).__name__})") from error


def _members(path: Path, size: int) -> tuple[bytes, bytes]:
    """The configuration and the weights in the archive, once its directory is checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(path, member)
            swollen = sum(m.file_size for m in members)
            if swollen > MOST_RATIO * size or swollen > MOST_BYTES:
                raise _too_big(
                    path,
                    f"{path.name} swells beyond a ratio of {MOST_RATIO}:1 or {MOST_BYTES} bytes when decompressed",
                    f"{size} bytes that become {swollen}",
                )
            names = [m.filename for m in members]
            if len(set(names)) < len(names):
                raise corrupt(path, "it holds two members of one name")
            lacking = [name for name in (CONFIG, WEIGHTS) if name not in names]
            if lacking:
                raise ModelError(
                    "TL-MODEL-INCOMPLETE",
                    f"{path.name} holds no {lacking[0]}",
                    where=str(path),
                    found=", ".join(names[:5]),
                    fix="save the whole model in one file: model.save('model.keras')",
                )
            if archive.getinfo(CONFIG).file_size > MOST_JSON:
                raise _too_big(path, f"{CONFIG} in {path.name} is too long", f"at most {MOST_JSON} bytes")
            return archive.read(CONFIG), archive.read(WEIGHTS)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise corrupt(path, f"it is truncated or no whole archive ({str(error)[:120]})") from error


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    try:
        check_member(member.filename)
        kind = member.external_attr >> 28  # the top bits of a Unix mode: 8 regular, 4 folder, 0 not told
        if kind not in (0, 4, 8) or member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} is a link or encrypted")
    except ValueError as error:
        raise ModelError(
            "TL-MODEL-PATH",
            f"{path.name} is refused: the member {error}",
            where=str(path),
            fix="save the model again with model.save('model.keras')",
        ) from error


def _json(text: bytes | str, path: Path, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise corrupt(path, f"{name} is no JSON ({str(error)[:80]})") from error


def corrupt(path: Path, why: str) -> ModelError:
    """TL-MODEL-CORRUPT for the file."""
    return damaged(path, why, "save the model again with model.save('model.keras')")


def _too_big(path: Path, message: str, found: str) -> ModelError:
    return ModelError(
        "TL-MODEL-TOO-BIG",
        message,
        where=str(path),
        found=found,
        fix="save the model again with model.save('model.keras')",
    )
