"""manifest.json: the files of a folder with their SHA-256, written last, so that a folder is whole or says what is not.

The keys ``format``, ``sha256`` (over the rest of the document) and ``files`` keep their meaning in every later version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tlplat.disk import calls, is_temporary, write_chunks, write_errors
from tlplat.errors import ModelError

NAME = "manifest.json"
FORMAT = 1
_BLOCK = 1 << 20


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path | str, extra: Mapping[str, Any] | None = None) -> None:
    """Write ``manifest.json`` over all files below ``folder``: ``{format, **extra, files: {name: {sha256, bytes}}}``.

    Files are synced first, whoever wrote them. ``format``, ``files`` and ``sha256`` in ``extra`` are replaced.
    """
    folder = Path(folder)
    files: dict[str, dict[str, Any]] = {}
    with write_errors(folder):
        for name in sorted(_names(folder)):
            descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                calls.fsync(descriptor)
            finally:
                os.close(descriptor)
            files[name] = {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
    document = {"format": FORMAT, **(extra or {}), "files": files} | {"format": FORMAT}
    document = json.loads(json.dumps(document))  # as a reader will see it: keys are strings
    document["sha256"] = _seal(document)
    text = json.dumps(document, ensure_ascii=True, indent=2, allow_nan=False) + "\n"
    write_chunks(folder / NAME, [text.encode("ascii")])


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest, itself unharmed; its files are not looked at. Raises ModelError TL-MODEL-CORRUPT."""
    path = Path(folder) / NAME
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _corrupt(path, "it is missing, so the folder is not complete") from None
    except OSError as error:
        raise _corrupt(path, f"it cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, "it is no JSON") from error
    if not isinstance(document, dict) or document.get("sha256") != _seal(document):
        raise _corrupt(path, "its content does not match its checksum")
    return document


def check_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest, after every file that it lists was compared with its checksum; further files are ignored.

    Raises:
        ModelError TL-MODEL-CORRUPT: names the file that is missing or differs. TL-MODEL-VERSION: a newer format.
    """
    folder = Path(folder)
    document = read_manifest(folder)
    if document["format"] != FORMAT:
        raise ModelError(
            "TL-MODEL-VERSION",
            f"{folder} has manifest format {document['format']}; this version of tlplat reads format {FORMAT}",
            where=str(folder / NAME),
            fix="install the version of tlplat that wrote it, or a newer one",
        )
    for name, facts in document["files"].items():
        path = folder / name
        if not _inside(name):
            raise _corrupt(folder / NAME, f"it names a file outside the folder: {name!r}")
        try:
            size = path.stat().st_size
            same = size == facts["bytes"] and sha256_file(path) == facts["sha256"]
        except OSError as error:
            raise _corrupt(path, f"it cannot be read: {error.strerror}") from error
        if not same:
            raise _corrupt(path, f"its content ({size} bytes) does not match its checksum in {NAME}")
    return document


def _names(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [n for n in folders if not is_temporary(n)]
        for name in files:
            relative = Path(parent, name).relative_to(folder).as_posix()
            if relative != NAME and not is_temporary(name):
                yield relative


def _seal(document: Mapping[str, Any]) -> str:
    rest = {k: v for k, v in document.items() if k != "sha256"}
    text = json.dumps(rest, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _inside(name: str) -> bool:
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in name


def _corrupt(path: Path, reason: str) -> ModelError:
    return ModelError(
        "TL-MODEL-CORRUPT",
        f"{path.name} is damaged: {reason}",
        where=str(path),
        fix="restore the folder from a copy, or make it again",
    )
