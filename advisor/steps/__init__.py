"""The steps of a plan, one module a kind: what a backend is to do, with the predicted figures."""

from advisor.profile import Profile
from knowledge.errors import UserError

ENCODER = "all-minilm-l6-v2"  # what is tuned or embeds where nothing else is named
TOKENS_PER_WORD = 1.4  # English in a WordPiece vocabulary
LONGEST = 256  # tokens of a text that is classified
ANSWERS = "tune"  # the step that makes a model which answers


def needed(profile: Profile, key: str, what: str) -> str:
    """A path of the profile.

    Raises:
        UserError: it has none.
    """
    value = getattr(profile, key)
    if value is None:
        raise UserError(f"the plan needs {what}; set {key!r} in the profile (a path)")
    return str(value)
