"""Forgiving look-up of catalogue ids: case, dashes and usual short names do not matter."""

import re
from collections.abc import Iterable, Mapping

from knowledge.errors import UserError, unknown


def squeezed(name: str) -> str:
    """The name in lower case with everything but letters, digits and dots left out."""
    return re.sub(r"[^a-z0-9.]+", "", name.lower())


def found(noun: str, name: str, aliases: Mapping[str, Iterable[str]]) -> str:
    """The id that a name means.

    Args:
        noun: what is looked up, for the error: "GPU", "model".
        aliases: for each id its other names.
    Raises:
        UserError: nothing fits, or several ids fit equally (they are listed).
    """
    if name in aliases:
        return name
    wanted = squeezed(name)
    if not wanted:
        raise UserError(f"the {noun} name is empty; see 'advisor catalog'")
    exact = {
        key
        for key, others in aliases.items()
        if wanted == squeezed(key) or any(wanted == squeezed(o) for o in others)
    }
    if len(exact) == 1:
        return exact.pop()
    partial = exact or {key for key in aliases if squeezed(key).startswith(wanted)}
    if len(partial) == 1:
        return partial.pop()
    if partial:
        raise UserError(
            f"{noun} {name!r} could be {', '.join(sorted(partial)[:8])}; write one of them"
        )
    raise unknown(noun, name, aliases)
