"""`advisor catalog prices --import`: a price list on disk becomes the user's own prices."""

import datetime as dt
from collections import Counter
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from advisor.cli.output import print_json, screen
from knowledge import own_prices, price_lists, prices
from knowledge.errors import UserError
from knowledge.files import write_text
from knowledge.price_lists import Change, Import

SHOWN = 20  # rows of a kind on a terminal; --json has all
SAME_MOST = ("changed", "refused", "new")


def imported(file: Path, day: dt.date | None, *, write: bool, as_json: bool) -> None:
    """Check a list, show what it changes, and merge what is in range into prices.yaml.

    Raises:
        UserError: the list is unknown or cannot be read, or holds nothing to take.
    """
    said = day or _changed(file)
    outcome = price_lists.read(file, said)
    if not outcome.own.gpus and not outcome.own.apis:
        raise UserError(f"{str(file)!r} holds no price to take: {_why(outcome)}")
    place = own_prices.place()
    if write:
        mine = own_prices.read(place) if place.is_file() else None
        write_text(place, own_prices.written(price_lists.merged(mine, outcome.own)))
        prices.reload()
    if as_json:
        written = str(place) if write else None
        rows = [change._asdict() for change in outcome.changes]
        print_json({"list": outcome.kind, "as_of": said, "written": written, "rows": rows})
        return
    _shown(outcome, said, place if write else None, dated=day is not None)


def _changed(file: Path) -> dt.date:
    try:
        return dt.date.fromtimestamp(file.stat().st_mtime)
    except OSError:
        raise UserError(f"no file {str(file)!r}; check the path") from None


def _why(outcome: Import) -> str:
    reasons = Counter(change.why for change in outcome.changes)
    return reasons.most_common(1)[0][0] if reasons else "no row of a kind that is priced here"


def _shown(outcome: Import, day: dt.date, place: Path | None, *, dated: bool) -> None:
    out = screen()
    counts = Counter(change.fate for change in outcome.changes)
    told = ", ".join(f"{counts[fate]} {fate}" for fate in ("new", "changed", "same", "refused"))
    out.print(f"[bold]{outcome.kind} list as of {day}: {told}[/]")
    for fate in SAME_MOST:
        rows = [change for change in outcome.changes if change.fate == fate]
        if rows:
            out.print()
            out.print(f"[bold]{fate}[/]")
            out.print(_table(rows[:SHOWN]))
            if len(rows) > SHOWN:
                out.print(f"and {len(rows) - SHOWN} more; --json lists all", style="dim")
    out.print()
    if not dated:
        out.print("The list is undated: the file's own date was taken; --as-of corrects it.")
    wrote = f"Written to {place}." if place else "Nothing was written (--dry-run)."
    out.print(escape(wrote))


def _table(rows: list[Change]) -> Table:
    table = Table("", "was", "is", "why", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in rows:
        table.add_row(*(escape(cell) for cell in (row.id, row.before, row.after, row.why)))
    return table
