"""A model over HTTP: the same rows as tlplat predict, and clear answers to what cannot be answered."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from tlplat.config import RunConfig
from tlplat.errors import UsageError
from tlplat.prediction import predict
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.serving import Limits, application, as_file
from tlplat.stage import load_registry

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nContent-Type: text/csv\r\n\r\n"
ROWS = "\n".join(",".join([f"{0.1 * i:g}"] * 12) for i in range(6)) + "\n"


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, named)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> list[Path]:
    return [tmp_path_factory.mktemp("serve") / "run"]


@pytest.fixture
def server(toy, folder) -> Iterator[Server]:
    path = folder[0]
    if not path.exists():
        config = RunConfig.model_validate(
            {"domain": "toy", "out": str(path), "strategies": ["linear_probe"], "seeds": 1, "threads": 1, "jobs": 1,
             "labels": 40, "train": {"steps": 20}}
        )  # fmt: skip
        run(config, load_registry(config), Reporter())
    command = [sys.executable, "-m", "tlplat", "serve", str(path), "--port", "0", "--max-mb", "1", "--max-waiting", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
    assert found, said + process.stderr.read()
    yield Server(process, int(found[1]), path)
    process.kill()
    process.communicate()


def test_answers_are_those_of_predict_and_refusals_are_clear(server, tmp_path) -> None:
    (tmp_path / "new.csv").write_text(ROWS)
    wanted = list(predict(server.folder, tmp_path / "new.csv", Reporter()))

    status, health = server.ask("/health")
    assert (status, health["status"], health["domain"], health["labels"]) == (200, "ok", "toy", ["in", "out"])
    for target, kind in (("/predict", "text/csv"), ("/predict?format=csv", "text/plain")):
        status, answer = server.ask(target, ROWS.encode(), Content_Type=kind)
        assert status == 200
        assert [r["prediction"] for r in answer["rows"]] == [r["prediction"] for r in wanted]
        assert answer["rows"][3]["probabilities"] == pytest.approx(wanted[3]["probabilities"], abs=1e-6)

    refusals = [
        ("/predict", b"1,2\n", {"Content_Type": "text/csv"}, 422, "TL-DATA-COLUMN"),
        ("/predict", b"{", {"Content_Type": "application/json"}, 422, "TL-SERVE-JSON"),
        ("/predict", b"x", {"Content_Type": "image/png"}, 415, "TL-SERVE-TYPE"),
        ("/predict?format=../../etc", b"x", {"Content_Type": "text/csv"}, 415, "TL-SERVE-TYPE"),
        ("/predict", None, {}, 405, "TL-SERVE-PATH"),
        ("/elsewhere", None, {}, 404, "TL-SERVE-PATH"),
    ]
    for target, body, headers, code, name in refusals:
        status, answer = server.ask(target, body, **headers)
        assert (status, answer["error"]["code"]) == (code, name)
        assert answer["error"]["fix"]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD.replace(b"99", b"9999999"))
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"TL-SERVE-SIZE" in answer + connection.recv(4096)
    assert server.ask("/health")[1]["pending"] == 0

    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) in (0, 130)
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_too_many_at_once_are_told_to_come_again(server) -> None:
    """Two requests whose bodies never end fill the server; a third is refused, and served once they are gone."""
    slow = []
    for _ in range(2):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(HEAD + b"1")
        slow.append(connection)
    _until(lambda: server.ask("/health")[1]["status"] == "busy")
    status, answer = server.ask("/predict", ROWS.encode(), Content_Type="text/csv")
    assert (status, answer["error"]["code"]) == (503, "TL-SERVE-BUSY")
    for connection in slow:
        connection.close()
    _until(lambda: server.ask("/health")[1]["pending"] == 0)
    found: list[int] = []
    asking = [
        threading.Thread(target=lambda: found.append(server.ask("/predict", ROWS.encode(), Content_Type="text/csv")[0]))
        for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert found == [200, 200]


def test_an_address_in_use_is_named(server) -> None:
    command = [sys.executable, "-m", "tlplat", "serve", str(server.folder), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6
    assert "TL-SERVE-ADDRESS" in done.stderr


def test_a_fault_of_tlplat_is_an_answer_too() -> None:
    """Through the application as a server calls it, with a model that fails."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": ROWS.encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"",
        "headers": [(b"content-type", b"text/csv")],
    }  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        asyncio.run(application(Failing(), Limits())(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error"]["code"] == "TL-INTERNAL"


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
    asyncio.run(application(Failing(), Limits(seconds=0.05))(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "TL-SERVE-SLOW"


class Failing:
    def predict(self, path: Path) -> list[Any]:
        raise ZeroDivisionError(path)


def test_rows_as_json_become_files() -> None:
    assert as_file(b'{"rows": [{"a": 1, "b": "x, y"}, {"b": null}]}', False) == (b'a,b\r\n1,"x, y"\r\n,\r\n', "csv")
    assert as_file(b'{"rows": [[1, 2.5]]}', True)[1] == "npz"
    for body in (b"[]", b'{"rows": []}', b'{"rows": [1]}', b"\xff"):
        _refused(body, False)
    for body in (b'{"rows": [["a"]]}', b'{"row": []}', b'{"rows": [[1], [1, 2]]}'):
        _refused(body, True)


def _refused(body: bytes, arrays: bool) -> None:
    with pytest.raises(UsageError, match="no JSON with rows") as caught:
        as_file(body, arrays)
    assert caught.value.code == "TL-SERVE-JSON"


def _until(said, seconds: float = 20.0) -> None:
    began = time.monotonic()
    while not said():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
