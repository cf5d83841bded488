"""A run's model over HTTP: rows in, the rows of ``tlplat predict`` out, within limits; for one machine, behind a proxy.

A body is a file as the domain reads it (its Content-Type, or ``?format=csv``, says which), or JSON ``{"rows": [...]}``.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tlplat.api import Model
from tlplat.errors import SCHEMA_VERSION, TlplatError, UsageError

TYPES = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/vnd.apache.parquet": "parquet",
    "text/x-fasta": "fasta",
    "application/zip": "zip",
    "application/octet-stream": "npz",
}
"""Content types and the endings of the files that they stand for."""
FORMATS = sorted({*TYPES.values(), "fa", "gb", "safetensors"})


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        body: bytes of a request. waiting: requests that are computed or wait, the next is told to come again.
        seconds: that a body may take to arrive.
    """

    body: int = 16 << 20
    waiting: int = 16
    seconds: float = 30.0


@dataclass
class Serving:
    """The application's state: one model, computed by one thread at a time, so that memory is that of one request."""

    model: Model
    limits: Limits
    lock: threading.Lock = field(default_factory=threading.Lock)
    pending: int = 0

    async def health(self, request: Request) -> JSONResponse:
        """Whether the server can take a request, and what it serves."""
        info = self.model.loaded.task.info()
        manifest = self.model.loaded.manifest
        return JSONResponse(
            {
                "schema_version": SCHEMA_VERSION,
                "status": "ok" if self.pending < self.limits.waiting else "busy",
                "pending": self.pending,
                "task": info.kind,
                "labels": list(info.labels),
                "domain": manifest["domain"],
                "strategy": manifest.get("strategy"),
                "limits": {"bytes": self.limits.body, "waiting": self.limits.waiting},
            }
        )

    async def predict(self, request: Request) -> JSONResponse:
        """Predictions for the rows of the body, in their order."""
        if self.pending >= self.limits.waiting:
            said = f"{self.pending} requests are computed or wait already"
            return refused(503, "TL-SERVE-BUSY", said, "send it again in a second", {"Retry-After": "1"})
        self.pending += 1
        try:
            body = await self._body(request)
            if isinstance(body, JSONResponse):
                return body
            content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            name = request.query_params.get("format")
            return await anyio.to_thread.run_sync(self._answer, body, content, name)
        finally:
            self.pending -= 1

    async def _body(self, request: Request) -> bytes | JSONResponse:
        """The body, read no further than the limit."""
        most, parts, size = self.limits.body, [], 0
        declared = request.headers.get("content-length", "0")
        too_big = refused(413, "TL-SERVE-SIZE", f"the body is larger than {most} bytes", "send fewer rows at once")
        if declared.isdigit() and int(declared) > most:
            return too_big
        try:
            with anyio.fail_after(self.limits.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        return too_big
                    parts.append(chunk)
        except TimeoutError:
            said = f"the body did not arrive within {self.limits.seconds:g} seconds"
            return refused(408, "TL-SERVE-SLOW", said, "send it faster, or in parts")
        return b"".join(parts)

    def _answer(self, body: bytes, content: str, name: str | None) -> JSONResponse:
        try:
            rows = self._rows(body, content, name)
        except TlplatError as error:
            return JSONResponse(error.to_json(), 415 if error.code == "TL-SERVE-TYPE" else 422)
        return JSONResponse({"schema_version": SCHEMA_VERSION, "rows": rows})

    def _rows(self, body: bytes, content: str, name: str | None) -> list[dict[str, Any]]:
        if name is None and content == "application/json":
            body, name = as_file(body, self.model.loaded.manifest["domain"] == "arrays")
        ending = name or TYPES.get(content)
        if ending not in FORMATS:
            raise UsageError(
                "TL-SERVE-TYPE",
                f"a body of type {name or content or 'unknown'} is not taken",
                expected=", ".join(["application/json", *TYPES]),
                fix="set Content-Type, or add ?format=csv (or another ending) to the address",
            )
        with tempfile.TemporaryDirectory(prefix="tlplat-serve-") as folder:
            path = Path(folder) / f"body.{ending}"
            path.write_bytes(body)
            with self.lock:
                return self.model.predict(path)


def application(model: Model, limits: Limits) -> Starlette:
    """``GET /health`` and ``POST /predict`` for a model."""
    serving = Serving(model, limits)
    routes = [
        Route("/health", serving.health, methods=["GET"]),
        Route("/predict", serving.predict, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={404: _no_such, 405: _no_such, 500: _fault})


def refused(status: int, code: str, message: str, fix: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer with the error document of ``--json``."""
    return JSONResponse(UsageError(code, message, fix=fix).to_json(), status, dict(headers or {}))


def as_file(body: bytes, arrays: bool) -> tuple[bytes, str]:
    """``{"rows": [...]}`` as a file: objects as CSV, lists of numbers (the domain arrays) as .npz.

    Raises:
        UsageError TL-SERVE-JSON: no JSON, or other rows.
    """
    try:
        rows = json.loads(body)["rows"]
        if not isinstance(rows, list) or not rows:
            raise ValueError("no rows")
        return (_npz(rows), "npz") if arrays else (_csv(rows), "csv")
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        said = "the body has no list under the key rows" if isinstance(error, KeyError | TypeError) else str(error)
        raise UsageError(
            "TL-SERVE-JSON",
            f"the body is no JSON with rows: {said.splitlines()[0][:200]}",
            expected='{"rows": [[0.5, 1.2], ...]}' if arrays else '{"rows": [{"column": "value"}, ...]}',
            fix="send rows as JSON, or a file with its own Content-Type",
        ) from error


def _npz(rows: Sequence[Any]) -> bytes:
    array = np.asarray(rows)
    if array.dtype.kind not in "iuf":
        raise ValueError("rows are not lists of numbers of one length")
    made = io.BytesIO()
    np.savez(made, x=array)
    return made.getvalue()


def _csv(rows: Sequence[Any]) -> bytes:
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a row is no object")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    made = io.StringIO()
    writer = csv.DictWriter(made, columns)
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    return made.getvalue().encode()


async def _no_such(request: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 404)
    said = f"{request.method} {request.url.path} is not served here"
    return refused(status, "TL-SERVE-PATH", said, "GET /health, or POST /predict")


async def _fault(request: Request, error: Exception) -> JSONResponse:
    said = "tlplat failed to answer; its log on stderr has the traceback"
    return refused(500, "TL-INTERNAL", said, "report it with the log")
