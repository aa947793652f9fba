"""The one error that is the user's to mend."""

from collections.abc import Iterable


class UserError(Exception):
    """Bad input, said in one line: what is wrong, the value seen, what to do.

    The command line prints it and exits with 2. Anything else is a bug and keeps its traceback.
    """


def unknown(noun: str, value: str, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not there, with the nearest names that are."""
    from difflib import get_close_matches  # costs 4 ms, and only mistakes need it

    names = {name.lower(): name for name in known}
    near = [names[n] for n in get_close_matches(value.lower(), list(names), n=3, cutoff=0.5)]
    if near:
        advice = f"did you mean {' or '.join(repr(n) for n in near)}?"
    elif len(names) <= 12:
        advice = f"known: {', '.join(names.values())}"
    else:
        advice = hint or "see 'advisor catalog'"
    return UserError(f"no {noun} {value!r}; {advice}")
