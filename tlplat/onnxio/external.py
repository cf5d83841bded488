"""Tensors that lie in files beside an ONNX model: read by name below its folder, through no link, and put into it.

The readers of onnx and onnxruntime have followed such names out of the folder (CVE-2026-27489, -34446, -34447), so
neither is asked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tlplat.errors import ModelError, ResourceError

MOST_BYTES = (1 << 31) - 1


def inlined(model: Any, path: Path) -> None:
    """Read the external data of every tensor in ``model``, whose file is ``path``, into the tensor itself.

    Raises:
        ModelError: TL-MODEL-PATH, a name that leads outside of the file's folder, or is a link; TL-MODEL-INCOMPLETE, no
            such file; TL-MODEL-CORRUPT, it is shorter than the tensor says; TL-MODEL-TOO-BIG.
        ResourceError TL-IO-READ.
    """
    folder, total = os.path.dirname(os.path.abspath(path)), 0
    outside = [t for t in tensors(model) if t.data_location == t.EXTERNAL or t.external_data]
    told = [{entry.key: entry.value for entry in t.external_data} for t in outside]
    parts = [_parts(path, about.get("location", "")) for about in told]
    for tensor, about, names in zip(outside, told, parts, strict=True):
        begin, length = (_number(path, about, key) for key in ("offset", "length"))
        with os.fdopen(_opened(path, folder, names), "rb") as file:
            stored = os.fstat(file.fileno()).st_size
            begin = begin or 0
            length = max(0, stored - begin) if length is None else length
            total += length
            if begin + length > stored:
                raise _refused(
                    "TL-MODEL-CORRUPT",
                    path,
                    f"declares {length} bytes of external data, and fewer are stored in {names[-1]}",
                    "copy the file of external data again, whole",
                )
            if total > MOST_BYTES:
                raise _refused(
                    "TL-MODEL-TOO-BIG",
                    path,
                    f"has more than {MOST_BYTES} bytes of external data",
                    "use a smaller model",
                )
            file.seek(begin)
            content = file.read(length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = content


def tensors(message: Any) -> list[Any]:
    """Every tensor below a protobuf message, wherever it stands."""
    return [m for m in messages(message) if m.DESCRIPTOR.name == "TensorProto"]


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all below it, but entries of metadata."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.name != "StringStringEntryProto":
            for inner in value if hasattr(value, "add") else [value]:
                yield from messages(inner)


def _parts(path: Path, location: str) -> tuple[str, ...]:
    """The names below the folder that ``location`` leads through."""
    found = PurePosixPath(location)
    strange = any(c in location for c in "\\\0") or location[1:2] == ":"
    if not found.parts or found.is_absolute() or ".." in found.parts or strange:
        raise _outside(path, f"{location[:200]!r}")
    return found.parts


def _opened(path: Path, folder: str, names: tuple[str, ...]) -> int:
    """A descriptor of the regular file that ``names`` lead to from ``folder``, no link among them."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    here = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for i, name in enumerate(names):
            last = i == len(names) - 1
            try:
                below = os.open(name, flags | (0 if last else os.O_DIRECTORY), dir_fd=here)
            except FileNotFoundError as error:
                raise _refused(
                    "TL-MODEL-INCOMPLETE",
                    path,
                    f"keeps its external data in {'/'.join(names)[:200]}, which is not there",
                    "copy the file of external data to the same place beside the model",
                ) from error
            except OSError as error:
                if _is_link(name, here):
                    raise _outside(path, f"the link {'/'.join(names[: i + 1])[:200]!r}") from error
                raise ResourceError(
                    "TL-IO-READ",
                    f"the external data of {path.name} cannot be read: {error.strerror}",
                    where="/".join(names)[:200],
                    fix="give a regular file that you may read",
                ) from error
            os.close(here)
            here = below
        about = os.fstat(here)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            raise _outside(path, f"{'/'.join(names)[:200]!r}, which is no plain file with one name")
    except BaseException:
        os.close(here)
        raise
    return here


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _number(path: Path, about: dict[str, str], key: str) -> int | None:
    text = about.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise _refused(
            "TL-MODEL-CORRUPT", path, f"has external data with the {key} {text[:30]!r}", "export the model again"
        )
    return int(text)


def _outside(path: Path, what: str) -> ModelError:
    return _refused(
        "TL-MODEL-PATH",
        path,
        f"is refused: its external data lie outside of its folder, or may: {what}",
        "put a real copy of the data file beside the model, or save the model in one file",
    )


def _refused(code: str, path: Path, what: str, fix: str) -> ModelError:
    return ModelError(code, f"{path.name} {what}", where=str(path), fix=fix)
