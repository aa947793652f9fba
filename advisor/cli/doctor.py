"""`advisor doctor`."""

import click
from rich.table import Table

from advisor import doctor as examination
from advisor.cli.output import common, print_json, screen


@click.command()
@common
def doctor(as_json: bool, quiet: bool) -> None:
    """Hardware, installed extras, reachable endpoints, what will and won't run here."""
    health = examination.health()
    if as_json:
        print_json(health)
        return
    out = screen()
    seen = health.machine
    out.print(f"[bold]{seen.system}[/], Python {seen.python}")
    arithmetic = "multiplies bf16 itself" if seen.bf16 else "no bf16 arithmetic"
    out.print(f"{seen.processor}, {seen.cores} cores ({arithmetic})", markup=False)
    out.print(f"{seen.memory_gib} GiB memory, {seen.disk_free_gib} GiB disk free")
    for card in seen.cards:
        out.print(f"GPU: {card.name}, {card.memory_gib} GiB, catalogue id {card.id or 'unknown'}")
    if not seen.cards:
        out.print("GPU: none seen by the driver")
    for extra in health.extras:
        state = "installed" if extra.installed else f"missing ({extra.install})"
        out.print(f"extra '{extra.name}': {state}", markup=False)
    key = "key set" if health.endpoint.key_set else "no key"
    where = health.endpoint.base_url or "not set"
    out.print(f"endpoint: {where}, {key}; {health.endpoint.says}", markup=False)
    if quiet:
        return
    table = Table("method", "runs here", "because", box=None, padding=(0, 2, 0, 0))
    for row in sorted(health.methods, key=lambda row: (not row.runs, row.method)):
        table.add_row(row.method, "yes" if row.runs else "no", row.because)
    out.print(table)
