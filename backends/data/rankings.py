"""Orders of answers as people write them: `C>B=D>A`, the best first, `=` for as good as."""

from collections.abc import Sequence
from string import ascii_uppercase

LETTERS = ascii_uppercase


def places(told: str, answers: int) -> tuple[int, ...]:
    """The rank of each answer, 1 the best; answers that are as good as each other share one.

    `places("C>B=D>A", 4)` is `(3, 2, 1, 2)`.

    Raises:
        ValueError: an answer is unknown, named twice or not at all, or a sign is missing; the
            text completes 'the ranking ...'.
    """
    known = LETTERS[:answers]
    span = f"{known[0]} to {known[-1]}"
    found: dict[str, int] = {}
    for rank, group in enumerate(told.upper().replace(" ", "").split(">"), start=1):
        for name in group.split("="):
            if name not in known or len(name) != 1:
                what = f"names {name!r}" if name else "has nothing beside a sign"
                raise ValueError(f"{what} in {told.strip()[:40]!r}; the answers are {span}")
            if name in found:
                raise ValueError(f"names {name} twice in {told.strip()[:40]!r}")
            found[name] = rank
    lacking = [name for name in known if name not in found]
    if lacking:
        raise ValueError(f"leaves out {', '.join(lacking)} in {told.strip()[:40]!r}")
    return tuple(found[name] for name in known)


def order(ranks: Sequence[int]) -> str:
    """The ranks of answers as an order: `(3, 2, 1, 2)` is `C>B=D>A`."""
    levels: dict[int, list[str]] = {}
    for name, rank in zip(LETTERS, ranks, strict=False):
        levels.setdefault(rank, []).append(name)
    return ">".join("=".join(levels[rank]) for rank in sorted(levels))
