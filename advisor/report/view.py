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
    """A labelled line through points; on logarithmic axes both coordinates are above 0."""

    label: str
    points: tuple[tuple[float, float], ...]


class Plot(msgspec.Struct, frozen=True):
    """Curves over one another; `marks` are labelled places across."""

    title: str
    across: str
    up: str
    curves: tuple[Curve, ...]
    note: str = ""
    logarithmic: bool = True
    marks: tuple[tuple[float, str], ...] = ()


class Dot(msgspec.Struct, frozen=True):
    """A labelled point with its intervals across and up; `front`: nothing beats it in both."""

    label: str
    across: Range
    up: Range
    front: bool = False


class Scatter(msgspec.Struct, frozen=True):
    """Points with intervals; across is logarithmic, up a share between 0 and 1."""

    title: str
    across: str
    up: str
    dots: tuple[Dot, ...]
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
    sections: tuple[Table | Chart | Text | Plot | Scatter, ...]
    footer: tuple[str, ...] = ()
