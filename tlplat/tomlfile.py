"""TOML files of users, read strictly, and TOML that tlplat writes.

A path that is not UTF-8 is written as a ``file://`` URI, and such a URI is read back as a path, so that every file
stays valid UTF-8 whatever the names on disk are.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from tlplat.errors import UsageError

MAX_BYTES = 1_000_000


def read(path: Path) -> dict[str, Any]:
    """The document of ``path``.

    Raises:
        UsageError: TL-USAGE (no such file, a folder, unreadable), TL-CONFIG-TOO-BIG (over 1 MB),
            TL-CONFIG-ENCODING (not UTF-8), TL-CONFIG-SYNTAX with line and column.
    """
    if path.is_dir():
        raise UsageError("TL-USAGE", f"{path} is a directory", fix="name a TOML file after -c")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError("TL-USAGE", f"{path} does not exist", fix="name an existing TOML file after -c") from None
    except OSError as error:
        raise UsageError("TL-USAGE", f"{path} cannot be read: {error.strerror}", fix="make the file readable") from None
    if len(data) > MAX_BYTES:
        raise UsageError(
            "TL-CONFIG-TOO-BIG",
            f"{path} is larger than 1 MB",
            fix="name a configuration file after -c; data go after --data",
        )
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise UnicodeError("it has NUL bytes, as UTF-16 has")
    except UnicodeError as error:
        raise UsageError(
            "TL-CONFIG-ENCODING",
            f"{path} is not UTF-8: {getattr(error, 'reason', None) or error}",
            where=f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else None,
            fix=f"convert it: iconv -f UTF-16 -t UTF-8 {path} > utf8.toml",
        ) from None
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise _syntax(path, "nested too deeply", "line 1, column 1") from None
    except ValueError as error:
        message, place = _place(str(error), text)
        raise _syntax(path, message, place) from None
    found: dict[str, Any] = _from_uris(document)
    return found


def value(text: str) -> Any:
    """``text`` as a TOML value where it is one (``3``, ``true``, ``[1, 2]``, ``nan``), else the string itself."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def dump(document: dict[str, Any]) -> str:
    """``document`` as TOML. None is left out: TOML has no null."""
    import tomli_w

    return tomli_w.dumps(_to_uris(document))


def _syntax(path: Path, message: str, place: str) -> UsageError:
    return UsageError(
        "TL-CONFIG-SYNTAX",
        f"{path} is not TOML: {message}",
        where=f"{path}, {place}",
        fix="correct that line; `tlplat config init` prints a file that is right",
    )


def _place(message: str, text: str) -> tuple[str, str]:
    """The parser's message without its place, and the place as line and column."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        return message[: found.start()], f"line {found[1]}, column {found[2]}"
    lines = text.split("\n")
    return message.replace(" (at end of document)", " at its end"), f"line {len(lines)}, column {len(lines[-1]) + 1}"


def _to_uris(node: Any) -> Any:
    if isinstance(node, dict):
        return {_to_uris(k): _to_uris(v) for k, v in node.items() if v is not None}
    if isinstance(node, list | tuple):
        return [_to_uris(v) for v in node]
    if isinstance(node, Path):
        return _to_uris(str(node))
    if isinstance(node, str) and any("\ud800" <= c <= "\udfff" for c in node):
        return Path(node).absolute().as_uri()
    return node


def _from_uris(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _from_uris(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_from_uris(v) for v in node]
    if isinstance(node, str) and node.startswith("file:///"):
        return unquote_to_bytes(node.removeprefix("file://")).decode("utf-8", "surrogateescape")
    return node
