"""Nothing of the model libraries on the user's terminal: bars and lines are the caller's."""

from transformers.utils import logging

from backends import weights


def quiet() -> None:
    """Turn off the libraries' own progress bars and chatter, in this process."""
    weights.quiet()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
