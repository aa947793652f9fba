"""What a report holds, before it is put on a terminal or a page."""

import msgspec

from knowledge.quantities import Range


class Table(msgspec.Struct, frozen=True):
    """Rows under headings; columns named in `right` are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Bar(msgspec.Struct, frozen=True):
    """One labelled quantity with its interval; `mark` is a measured value beside it."""

    label: str
    range: Range
    mark: float | None = None


class Chart(msgspec.Struct, frozen=True):
    """Intervals beside each other; `limit` is a line they should stay below."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    limit: float | None = None
    limit_label: str = ""
    logarithmic: bool = False
    note: str = ""


class Curve(msgspec.Struct, frozen=True):
    """A labelled line through points, both coordinates above 0."""

    label: str
    points: tuple[tuple[float, float], ...]


class Plot(msgspec.Struct, frozen=True):
    """Curves over one another, both axes logarithmic."""

    title: str
    across: str
    up: str
    curves: tuple[Curve, ...]
    note: str = ""


class Line(msgspec.Struct, frozen=True):
    """A sentence, and where it comes from."""

    says: str
    source: str = ""


class Text(msgspec.Struct, frozen=True):
    """Sentences under a heading."""

    title: str
    lines: tuple[Line, ...]


class View(msgspec.Struct, frozen=True):
    """One report: the answer in its first lines, then sections, then what it rests on."""

    title: str
    answer: tuple[str, ...]
    sections: tuple[Table | Chart | Text | Plot, ...]
    footer: tuple[str, ...] = ()
