"""What goes to stdout: one JSON document, or aligned text. Nothing else writes there."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import click

from tlplat.errors import SCHEMA_VERSION
from tlplat.isolate import stdout_to_stderr

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """``--json``: exactly one JSON document on stdout, also on failure."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def emit_json(document: Mapping[str, Any]) -> None:
    """Print ``document`` with its schema_version; ASCII, so that it is valid in any locale; NaN becomes null."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **_plain(document)}, indent=2, default=str, allow_nan=False)
    sys.stdout.write(text + "\n")


def emit(document: Mapping[str, Any], as_json: bool, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``document`` as JSON, or ``rows`` as a table of ``columns``."""
    if as_json:
        emit_json(document)
    else:
        write_table(columns, rows)


def write_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Aligned columns under their names; the last is not padded, so that lines can be piped and cut."""
    lines = [[name.replace("_", " ").upper() for name in columns]]
    lines += [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """A stream on stdout for the command alone: what anyone else prints meanwhile goes to stderr."""
    sys.stdout.flush()
    with (
        os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace") as stream,
        stdout_to_stderr(),
    ):
        yield stream
        stream.flush()


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(k): _plain(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(v) for v in node]
    if isinstance(node, float) and not math.isfinite(node):
        return None
    return node
