"""``tlplat serve RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.group import COMMANDS

EPILOG = """\b
Examples:
  tlplat serve my-run
  tlplat serve my-run/model --port 9000 --max-mb 64
  curl -s localhost:8000/health
  curl -s -H 'Content-Type: text/x-fasta' --data-binary @new.fasta localhost:8000/predict
"""


@click.command("serve", short_help=COMMANDS["serve"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--max-mb", type=click.IntRange(1, 4096), default=16, show_default=True, help="Largest body.")
@click.option(
    "--max-waiting", type=click.IntRange(1, 10_000), default=16, show_default=True, help="Requests at once, before 503."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.")
def command(run: Path, host: str, port: int, max_mb: int, max_waiting: int, threads: int | None) -> None:
    """Serve the model of RUN over HTTP until Ctrl-C.

    POST /predict takes a file as the domain reads it, or JSON {"rows": [...]}, and answers with the rows of
    `tlplat predict`. GET /health says what is served. There is no login and no encryption: keep it on your machine, or
    put a proxy before it.
    """
    import socket

    import torch

    from tlplat.api import load_model
    from tlplat.errors import PluginError, ResourceError
    from tlplat.isolate import stdout_to_stderr

    try:
        import uvicorn

        from tlplat.serving import Limits, application
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA", f"serving needs {error.name}", fix="pip install 'tlplat[serve]'"
        ) from error
    if threads is not None:
        torch.set_num_threads(threads)
    with stdout_to_stderr():
        made = application(load_model(run), Limits(body=max_mb << 20, waiting=max_waiting))
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((host, port))
                listening.listen(128)
            except OSError as error:
                raise ResourceError(
                    "TL-SERVE-ADDRESS",
                    f"cannot listen on {host}:{port}: {error.strerror or error}",
                    fix="choose another --port (0 takes a free one) or --host",
                ) from error
            at = listening.getsockname()[1]
            click.echo(f"serving {run} at http://{host}:{at} (Ctrl-C ends it)", err=True)
            config = uvicorn.Config(made, log_level="warning", access_log=False, lifespan="off")
            uvicorn.Server(config).run(sockets=[listening])
