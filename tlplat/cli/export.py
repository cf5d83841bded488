"""``tlplat export RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option

FORMATS = ("safetensors", "onnx", "torch-export", "keras")
EPILOG = """\b
Examples:
  tlplat export my-run --format onnx -o model.onnx
  tlplat export my-run/model --format torch-export -o model.pt2 --data new.fasta
  tlplat export my-run --format safetensors -o weights.safetensors --json
  tlplat export my-run --format keras -o fine_tuned_model.h5
"""


@click.command("export", short_help=COMMANDS["export"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to.")
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE", help="Rows to check it on; default: the run's test rows."
)
@json_option
def command(run: Path, form: str, output: Path, data: Path | None, as_json: bool) -> None:
    """Write the model of RUN as one file that others can run.

    It takes rows as the model does, after preprocessing, and gives the head's outputs: logits for classification, whose
    softmax are the probabilities. Labels and preprocessing are in its metadata. A Keras model, of a source that was
    one, gives the probabilities themselves, and holds no labels. What it says of real rows is compared with what the
    model says before the file appears.
    """
    from tlplat.cli.progress import TerminalReporter
    from tlplat.exporting import export
    from tlplat.exporting.formats import as_json as document
    from tlplat.exporting.plain import ready
    from tlplat.exporting.rows import example_rows
    from tlplat.exporting.told import told
    from tlplat.isolate import stdout_to_stderr
    from tlplat.prediction import load_run_model

    with stdout_to_stderr():
        loaded, registry = load_run_model(run)
        rows = example_rows(run, loaded, registry, data, TerminalReporter(True))
        done = export(ready(loaded, rows, told(run, loaded, registry)), form, output)
    if as_json:
        emit_json(document(done))
    else:
        click.echo(f"{done.path}: equal to the model on {done.rows} rows (largest difference {done.difference:.1e})")
