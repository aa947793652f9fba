"""`advisor serve`."""

import os
from ipaddress import ip_address
from pathlib import Path

import click

from advisor.cli.output import common, notes, print_json
from backends import serve as serving
from knowledge.errors import UserError

KEY = "ADVISOR_SERVE_KEY"


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
              help="Port to listen on; 0 for any that is free.")  # fmt: skip
@click.option("--at-once", default=64, show_default=True, type=click.IntRange(1, 512),
              help="Questions worked on together; more wait.")  # fmt: skip
@click.option("--budget-usd", type=click.FloatRange(min=0), help="Spend no more while it is up.")
@common
def serve(
    run_dir: Path,
    host: str,
    port: int,
    at_once: int,
    budget_usd: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve a finished run over HTTP: a page to ask it on, and an OpenAI-compatible face.

    Callers have to show the key in ADVISOR_SERVE_KEY if it is set.
    """
    key = os.environ.get(KEY, "").strip() or None
    if key is None and not _loopback(host):
        raise UserError(
            f"--host {host} lets others in; set {KEY} to a key that callers have to show"
        )
    console = notes(quiet=quiet)

    def ready(name: str, opened: int) -> None:
        page = f"http://{f'[{host}]' if ':' in host else host}:{opened}/"
        url = f"{page}v1"
        if as_json:
            print_json({"run": str(run_dir), "model": name, "url": url, "page": page})
        console.print(f"serving {name} at {url}, a page at {page}; stop with Ctrl-C", markup=False)

    serving.up().serve(run_dir, host, port, key, at_once, budget_usd, ready)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
