"""How many tokens a message is: by the model's own tokenizer, or estimated from its bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends import weights
from backends.data import Message
from backends.prompting.exchange import Face
from backends.prompting.money import TOKENS_A_MESSAGE
from backends.prompting.prompts import Example, Prompt
from knowledge.errors import UserError

BYTES_A_TOKEN = 3.0
"""Few tokenizers of today's models take fewer bytes of English a token; other scripts do.

Off by: about a third too many tokens in English, up to twice too few in scripts that a
vocabulary hardly knows.
"""


class TooLong(Exception):  # noqa: N818 (one item; the others go on)
    """An item that does not fit by itself; it is not sent."""


class Counter:
    """Counts tokens, exactly where a tokenizer is named."""

    def __init__(self, tokenizer: str | None) -> None:
        self.exact = tokenizer is not None
        self._tokenizer = None if tokenizer is None else _loaded(tokenizer)

    def count(self, text: str) -> int:
        """The tokens of a text."""
        if self._tokenizer is None:
            return int(len(text.encode()) / BYTES_A_TOKEN) + 1
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def message_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of messages, with the markers that a chat template adds."""
        return sum(self.count(message.content) + TOKENS_A_MESSAGE for message in messages)


class Room:
    """Keeps messages within a budget of tokens; without one they pass."""

    def __init__(
        self, counter: Counter, prompt_tokens: int | None, context: int | None, answer: int
    ) -> None:
        limits = [prompt_tokens, None if context is None else context - answer]
        known = [limit for limit in limits if limit is not None]
        self._most = min(known) if known else None
        self._counter = counter
        self._face: Face = "chat"

    def messages(
        self, prompt: Prompt, text: str, before: tuple[Message, ...], examples: tuple[Example, ...]
    ) -> tuple[tuple[Message, ...], int]:
        """The messages about a text, and how many examples had to be left out.

        The first examples go first: they are the least near ones, where nearness decides.

        Raises:
            TooLong: the text does not fit even without examples.
        """
        kept = examples
        while True:
            dropped = len(examples) - len(kept)
            made = prompt.messages(text, before, kept, dropped)
            if self._most is None:
                return made, dropped
            over = self._counter.message_tokens(made) - self._most
            if over <= 0:
                return made, dropped
            if not kept:
                about = "" if self._counter.exact else "about "
                raise TooLong(
                    f"the message takes {about}{over + self._most:,} tokens of {self._most:,}; "
                    f"it was not sent"
                )
            while kept and over > 0:
                over -= self._counter.count(kept[0].text + kept[0].target)
                kept = kept[1:]


def _loaded(name: str) -> Any:
    from tokenizers import Tokenizer  # only where a tokenizer is named

    where = weights.local(name)
    file = Path(where) / "tokenizer.json"
    try:
        return (
            Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(where)
        )
    except Exception as error:  # the library raises plain Exception for all that is wrong
        first = " ".join(str(error).split())[:160]
        raise UserError(f"cannot load the tokenizer of {name!r}: {first}") from None
