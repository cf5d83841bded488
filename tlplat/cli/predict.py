"""``tlplat predict RUN DATA``."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, reserved_stdout
from tlplat.disk import write_chunks
from tlplat.errors import UsageError

STDIN_ROWS, CHUNK_ROWS, PARQUET_ROWS = 1000, 500, 20_000
"""Records of stdin that are answered at a time, rows that are printed at a time, rows of a group in Parquet."""
SHORT = {"probabilities": "p"}
"""How a map of a row is called in its columns."""
EPILOG = """\b
Examples:
  tlplat predict runs/genomics-... new.fasta > predictions.csv
  tlplat predict my-run/model new.fasta --format jsonl
  tlplat predict my-run large.parquet --format parquet -o predictions.parquet
  cat reviews.csv | tlplat predict my-run - --input-format csv
"""


@click.command("predict", short_help=COMMANDS["predict"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", help="Form of the rows."
)
@click.option("--input-format", metavar="ENDING", help="What stdin holds where DATA is -, such as csv or fasta.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there, not to stdout.")
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
def command(
    run: Path, data: Path, form: str, input_format: str | None, output: Path | None, quiet: bool, as_json: bool
) -> None:
    """Predict each record of DATA with the model of RUN, in the file's order, on stdout.

    DATA may be - for stdin. Large files, compressed ones, and stdin are read in parts where their records stand alone.

    RUN is a run directory, or a model/ folder on its own. Columns: id, prediction, and what the task adds: for
    classification p(LABEL) and calibrated(LABEL) for each label, as the model says it and at the temperature that
    validation rows asked for (of a run with --balance: for labels that are equally frequent, and as frequent as they
    are; the prediction goes by the first); for numbers low and high, the ends of a prediction interval.
    """
    from tlplat.cli.progress import TerminalReporter
    from tlplat.prediction import predict, predict_stream

    if str(data) != "-":
        rows = predict(run, data, TerminalReporter(quiet))
    elif input_format is None:
        raise UsageError("TL-USAGE", "stdin has no name that says what it holds", fix="add --input-format csv, say")
    else:
        name = Path(f"stdin.{input_format.lower().removeprefix('.')}")
        rows = predict_stream(run, sys.stdin.buffer, name, TerminalReporter(quiet), STDIN_ROWS)
    if as_json:
        with reserved_stdout():
            found = list(rows)
        emit_json({"run": str(run), "data": str(data), "rows": found})
    elif output is not None:
        write_chunks(output, parquet_chunks(rows) if form == "parquet" else map(str.encode, text_chunks(rows, form)))
    elif form == "parquet":
        raise UsageError("TL-USAGE", "Parquet is not written to a terminal", fix="name a file with -o FILE")
    else:
        with reserved_stdout() as stream:
            for chunk in text_chunks(rows, form):
                stream.write(chunk)
                stream.flush()


def text_chunks(rows: Iterator[Mapping[str, Any]], form: str) -> Iterator[str]:
    """JSON lines, or CSV (RFC 4180, one line a record), some hundred rows at a time.

    In CSV a map's entries are columns ``name(key)``, a list's are joined by ``;`` (by ``|`` where a label holds one),
    and text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    header: list[str] = []
    while part := list(itertools.islice(rows, CHUNK_ROWS)):
        made = io.StringIO()
        if form == "jsonl":
            made.writelines(json.dumps(row) + "\n" for row in part)
        else:
            writer, lines = csv.writer(made), [dict(_cells(row, joined=True)) for row in part]
            if not header:
                header = list(lines[0])
                writer.writerow(map(inert, header))
            writer.writerows([inert(cells[name]) for name in header] for cells in lines)
        yield made.getvalue()


def parquet_chunks(rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """A Parquet file in pieces: columns as in CSV, with their types; lists stay lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, writer, schema = _Sink(), None, None
    while part := [dict(_cells(row)) for row in itertools.islice(rows, PARQUET_ROWS)]:
        table = pa.Table.from_pylist(part, schema)
        if writer is None:
            schema = pa.schema([(f.name, _typed(f.type)) for f in table.schema])
            table = table.cast(schema)
            writer = pq.ParquetWriter(sink, schema)
        writer.write_table(table)
        yield sink.drained()
    if writer is not None:
        writer.close()
    yield sink.drained()


def _typed(kind: Any) -> Any:
    """Lists of names, where all lists so far were empty."""
    import pyarrow as pa

    return pa.list_(pa.string()) if pa.types.is_list(kind) and pa.types.is_null(kind.value_type) else kind


class _Sink(io.RawIOBase):
    """Keeps what is written until it is drained."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def drained(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found


def inert(value: Any) -> Any:
    """Text that begins like a formula (= + - @, a tab, a line break) with an apostrophe before it; numbers stay."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _cells(row: Mapping[str, Any], joined: bool = False) -> Iterator[tuple[str, Any]]:
    separator = "|" if any(";" in name for name in row.get("probabilities", ())) else ";"
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{SHORT.get(key, key)}({name})", inner) for name, inner in value.items())
        else:
            yield key, separator.join(map(str, value)) if joined and isinstance(value, list | tuple) else value
