"""Fit the ranges of the memory constants to the packaged measurements, and draw what they give.

    python benchmarks/memory_constants.py [--plot docs/memory.svg] [--table docs/memory.md]

Prints the fitted constants (they are entered by hand in knowledge/data/constants.jsonl, rounded),
the scores with them, and the scores with each source left out of the fit in turn. The search is a
random walk from six fixed seeds: a local one, as in `advisor.validate.memory_constants`, starts
from what this one found.
"""

import argparse
import importlib
import math
import random
from pathlib import Path

import numpy as np

from advisor import validate
from advisor.estimates.settling import settled as workload
from advisor.job import settled
from advisor.validate import memory_constants as fit
from advisor.validate.records import Report, document
from knowledge import measured

SEEDS, STEPS = 6, 20_000
BOUNDS = {"spread-state": (0.97, 1.06), "spread-activation": (0.3, 4.0), "spread-loss": (0.3, 4.0),
          "spread-gathered": (0.3, 2.0), "reserved": (1.0, 1.5)}  # fmt: skip
LEAST = {"spread-activation": 1.15, "reserved": 1.12}
"""High ends that the search does not go below: people's jobs differ more than published ones."""


def rows() -> list[fit.Held]:
    """The bills of the rows that count."""
    memory = importlib.import_module("advisor.validate.memory")
    return [
        fit.held(document(row.source), row.metric, row.measured_gib or 0.0,
                 workload(settled(memory.job(row))))
        for row in measured.memory()
        if memory.unscored(row) is None
    ]  # fmt: skip


class Search:
    """The random walk over the ends of the fitted ranges."""

    def __init__(self, held: list[fit.Held]) -> None:
        self.parts = np.array([row.parts for row in held])
        self.measured = np.array([row.measured for row in held])
        self.short = np.array([1.0 if row.reaches else fit.MISSED for row in held])
        self.held = np.array([row.metric != "allocated" for row in held])
        self.outside = np.array([
            [*(getattr(row.outside, end) for end in ("low", "mid", "high"))]
            if row.metric == "card" else [0.0] * 3 for row in held
        ])  # fmt: skip
        reserved = np.array([row.metric == "reserved" for row in held])
        self.middle = float(np.median((self.measured / self.parts.sum(1))[reserved]))
        self.start = fit.packaged()

    def cost(self, ends: dict[str, list[float]]) -> float:
        """Width, and what the marks are missed by, weighted."""
        low = np.array([ends.get(f"spread-{s}", self._packaged(s))[0] for s in fit.SORTS])
        high = np.array([ends.get(f"spread-{s}", self._packaged(s))[1] for s in fit.SORTS])
        missed = np.isin(fit.SORTS, ["activation", "loss"])
        lows = (self.parts * low * np.where(missed, self.short[:, None], 1)).sum(1)
        highs, mids = (self.parts * high).sum(1), self.parts.sum(1)
        lows = np.where(self.held, lows * ends["reserved"][0], lows) + self.outside[:, 0]
        mids = np.where(self.held, mids * self.middle, mids) + self.outside[:, 1]
        highs = np.where(self.held, highs * ends["reserved"][1], highs) + self.outside[:, 2]
        width = (highs - lows) / mids
        inside = ((lows <= self.measured) & (self.measured <= highs)).mean()
        above = (self.measured > highs).mean()
        return float(
            np.median(width) + 0.4 * width.mean()
            + 12 * max(0, fit.COVERED - inside) + 30 * max(0, above - 0.0285)
        )  # fmt: skip

    def _packaged(self, sort: str) -> tuple[float, float]:
        found = self.start[f"spread-{sort}"]
        return found.low, found.high

    def walked(self, seed: int) -> tuple[float, dict[str, list[float]]]:
        """The best ends that one seed finds, and their cost."""
        dice = random.Random(seed)
        now = {name: [self.start[name].low, self.start[name].high] for name in fit.FITTED}
        cost, heat = self.cost(now), 0.05
        best = (cost, now)
        for _ in range(STEPS):
            name, end = dice.choice(fit.FITTED), dice.randrange(2)
            tried = {key: list(value) for key, value in now.items()}
            tried[name][end] += dice.gauss(0, 0.06)
            middle = self.middle if name == "reserved" else 1.0
            floor, ceiling = BOUNDS[name]
            tried[name][0] = max(floor, min(tried[name][0], middle))
            tried[name][1] = min(ceiling, max(tried[name][1], middle, LEAST.get(name, 0.0)))
            price = self.cost(tried)
            if price < cost or dice.random() < math.exp((cost - price) / max(heat, 1e-5)):
                now, cost = tried, price
            best = min(best, (cost, now), key=lambda pair: pair[0])
            heat *= 0.9996
        return best


def main() -> None:
    """Print, and write what is asked for."""
    flags = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    flags.add_argument("--plot", type=Path, help="predicted against measured, SVG")
    flags.add_argument("--table", type=Path, help="the scores as markdown")
    flags.add_argument("--no-fit", action="store_true", help="score the packaged constants only")
    asked = flags.parse_args()
    if not asked.no_fit:
        search = Search(rows())
        best = min((search.walked(seed) for seed in range(SEEDS)), key=lambda pair: pair[0])
        for name, ends in best[1].items():
            middle = search.middle if name == "reserved" else 1.0
            print(f"{name}: low {ends[0]:.3f}, mid {middle:.3f}, high {ends[1]:.3f}")
    outcome = validate.report("memory")
    assert isinstance(outcome, Report)
    text = "\n".join(table(outcome))
    print(text)
    if asked.table:
        asked.table.write_text(text + "\n", encoding="utf-8")
    if asked.plot:
        asked.plot.write_text(plot(outcome), encoding="utf-8")


def table(outcome: Report) -> list[str]:
    """The scores by source and by method, and with each source left out of the fit."""
    lines = [
        "# Memory: predicted against measured", "",
        "Made by `python benchmarks/memory_constants.py --no-fit --table docs/memory.md "
        "--plot docs/memory.svg` from `knowledge/data/measured_memory.csv`.", "",
        "![predicted against measured](memory.svg)", "",
    ]  # fmt: skip
    groups = {
        "All rows": {"all": outcome.summary}, "By source": outcome.by_group["source"],
        "By method": outcome.by_group["method"],
        "Each source predicted by constants fitted without it": outcome.summary.leave_one_out,
    }  # fmt: skip
    for title, named in groups.items():
        lines += [f"## {title}", "", "| | rows | median | 90 % | inside | above | width |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        for name, of in named.items():
            figures = (of.median_error, of.p90_error, of.coverage_80, of.above_high)
            shares = " | ".join("" if x is None else f"{x:.1%}" for x in figures)
            width = "" if of.width is None else f"{of.width:.2f}"
            lines.append(f"| {name} | {of.n_scored} | {shares} | {width} |")
        lines.append("")
    return lines


def plot(outcome: Report) -> str:
    """Predicted against measured, both axes logarithmic, a colour a source, as SVG."""
    size, edge, low, high = 640, 60, 1.0, 400.0

    def place(gib: float) -> float:
        share = math.log(max(gib, low) / low) / math.log(high / low)
        return edge + share * (size - 2 * edge)

    rows = [row for row in outcome.rows if row.unscored is None and row.predicted]
    sources = sorted({row.group["source"] for row in rows})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" font-size="12" '
        'font-family="sans-serif" role="img" aria-label="predicted against measured memory">',
        f'<rect width="{size}" height="{size}" fill="#fff"/>',
        f'<line x1="{edge}" y1="{size - edge}" x2="{size - edge}" y2="{edge}" stroke="#888"/>',
    ]
    for tick in (1, 2, 5, 10, 20, 50, 100, 200, 400):
        at = place(tick)
        parts.append(f'<text x="{at}" y="{size - edge + 18}" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="{edge - 8}" y="{size - at + 4}" text-anchor="end">{tick}</text>')
    for row in rows:
        hue = 360 * sources.index(row.group["source"]) // len(sources)
        across, up = place(row.measured or 0.0), size - place(row.mid or 0.0)
        reach = (size - place(row.low or 0.0), size - place(row.high or 0.0))
        parts.append(
            f'<g stroke="hsl({hue},65%,40%)" fill="hsl({hue},65%,40%)"><title>{row.id}</title>'
            f'<line x1="{across:.1f}" y1="{reach[0]:.1f}" x2="{across:.1f}" y2="{reach[1]:.1f}" '
            f'stroke-opacity=".35"/><circle cx="{across:.1f}" cy="{up:.1f}" r="2.5"/></g>'
        )
    parts.append(
        f'<text x="{size / 2}" y="{size - 14}" text-anchor="middle">measured [GiB]</text>'
    )
    parts.append(
        f'<text x="18" y="{size / 2}" transform="rotate(-90 18 {size / 2})" '
        'text-anchor="middle">predicted [GiB], 80 % interval</text></svg>'
    )
    return "\n".join(parts)


if __name__ == "__main__":
    main()
