"""Prompts with answers and conversations as tokens: templated, prompts masked, ends marked, packed.

Everything goes through the tokenizer's chat template, at training and at answering alike; a
tokenizer that has none is given a plain one, which is saved with it.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jinja2

from backends.data import Completion, Messages, Preference, Ranking, Row
from backends.data.rows import Message
from backends.training.batches import IGNORED
from knowledge.errors import UserError

PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)

Talk = list[dict[str, str]]


class Dialogues(NamedTuple):
    """Rows to learn from, and what became of those that could not be used as they were.

    `rows` hold `input_ids`, `labels` and `line`; `longest_answer` is in tokens, its end included.
    """

    rows: list[dict[str, Any]]
    truncated: int
    split: int
    dropped: int
    masked: int
    ends_added: int
    longest_answer: int

    def counts(self) -> dict[str, int]:
        """What happened to how many conversations."""
        found = {
            "truncated": self.truncated,
            "split": self.split,
            "dropped_overlong": self.dropped,
            "dropped_without_answer_tokens": self.masked,
            "ends_added": self.ends_added,
            "learnt_tokens": sum(t != IGNORED for row in self.rows for t in row["labels"]),
            "tokens": sum(len(row["input_ids"]) for row in self.rows),
        }
        return {name: value for name, value in found.items() if value or name == "truncated"}


def templated(tokenizer: Any) -> bool:
    """Give the tokenizer the plain template if it has none; whether that was so.

    Raises:
        UserError: it has no token that ends an answer.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer has no end-of-sequence token, so answers would never end; "
            "take a model whose tokenizer has one"
        )
    if tokenizer.chat_template:
        return False
    tokenizer.chat_template = PLAIN
    return True


def conversation(row: Row) -> Talk:
    """A row as turns; a prompt with its completion is one of the user's and one answer.

    Of answers that people compared the best one is learnt.

    Raises:
        UserError: the row is neither.
    """
    if isinstance(row, Completion):
        return [
            {"role": "user", "content": row.prompt},
            {"role": "assistant", "content": row.completion},
        ]
    if isinstance(row, Messages):
        return [_turn(turn) for turn in row.messages]
    if isinstance(row, Ranking):
        return [
            {"role": "user", "content": row.prompt},
            {"role": "assistant", "content": row.responses[row.ranking.index(min(row.ranking))]},
        ]
    if isinstance(row, Preference):
        sides = [(row.prompt, "user"), (row.chosen, "assistant")]
        return [
            turn
            for said, role in sides
            for turn in (
                [{"role": role, "content": said}]
                if isinstance(said, str)
                else [_turn(one) for one in said]
            )
        ]
    raise UserError(
        f"line {row.line} is a {type(row).__name__.lower()}; answering is learnt from "
        "prompt,completion, instruction,input,output or messages"
    )


def prompt_of(row: Row) -> Talk:
    """The turns before the last answer of a row."""
    talk = conversation(row)
    last = max(place for place, turn in enumerate(talk) if turn["role"] == "assistant")
    return talk[:last]


def rendered(tokenizer: Any, talk: Talk, begin_answer: bool = False) -> str:
    """Turns as the text that the model reads.

    Raises:
        UserError: the template refuses the conversation.
    """
    try:
        return str(
            tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=begin_answer)
        )
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise UserError(
            f"the chat template refuses a conversation of {', '.join(t['role'] for t in talk)}: "
            f"{' '.join(str(error).split())[:120]}; change the data or the template"
        ) from None


def dialogues(
    tokenizer: Any,
    rows: Iterable[Row],
    max_length: int,
    overlong: Literal["truncate", "split", "drop"] = "truncate",
    everything: bool = False,
) -> Dialogues:
    """Conversations as rows of tokens with labels for the answers alone (or for everything).

    Each answer's end is a label too; where the template does not mark it, it is added.
    """
    counted = dict.fromkeys(("truncated", "split", "dropped", "masked", "ends_added"), 0)
    found: list[dict[str, Any]] = []
    longest = 0
    for row in rows:
        ids, labels, ended = _tokens(tokenizer, conversation(row), everything)
        counted["ends_added"] += ended
        pieces = [(ids, labels)]
        if len(ids) > max_length:
            counted[{"truncate": "truncated", "drop": "dropped"}.get(overlong, overlong)] += 1
            pieces = _fitting(ids, labels, max_length, overlong)
        learnt = [piece for piece in pieces if any(label != IGNORED for label in piece[1][1:])]
        counted["masked"] += bool(pieces) and not learnt
        for some_ids, some_labels in learnt:
            # The first token of a row is predicted from nothing.
            kept = [IGNORED, *some_labels[1:]]
            longest = max(longest, sum(label != IGNORED for label in kept))
            found.append({"input_ids": some_ids, "labels": kept, "line": row.line})
    return Dialogues(rows=found, longest_answer=longest, **counted)


def exchanges(tokenizer: Any, rows: Iterable[Row], max_length: int, start: int) -> Dialogues:
    """Prompts and answers for a model of two halves: one reads, the other writes.

    Args:
        start: the token that the writing half begins with.
    """
    found, truncated, masked, longest = [], 0, 0, 0
    end = tokenizer.eos_token_id
    for row in rows:
        talk = conversation(row)
        ids = tokenizer(rendered(tokenizer, prompt_of(row)), verbose=False)["input_ids"]
        answer = tokenizer(talk[-1]["content"], add_special_tokens=False)["input_ids"]
        labels = [*answer, end]
        truncated += len(ids) > max_length or len(labels) > max_length
        labels = labels[:max_length]
        masked += not answer
        longest = max(longest, len(labels))
        found.append(
            {
                "input_ids": ids[:max_length],
                "labels": labels,
                "decoder_input_ids": [start, *labels[:-1]],
                "line": row.line,
            }
        )
    return Dialogues(found, truncated, 0, 0, masked, 0, longest)


def packed(rows: Sequence[dict[str, Any]], length: int) -> list[dict[str, Any]]:
    """Rows laid end to end into rows of at most a length, longest first, each where it fits best.

    `position_ids` begin anew with each, by which transformers keeps them blind to each other;
    labels at a text's first token are not learnt, so nothing is predicted across a border.
    `lines` are those of the texts in a row.
    """
    room: list[list[dict[str, Any]]] = []
    left: list[int] = []
    by_space: dict[int, list[int]] = {}
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        size = len(row["input_ids"])
        space = next((space for space in range(size, length + 1) if by_space.get(space)), None)
        if space is None:
            room.append([])
            left.append(length)
            place = len(room) - 1
        else:
            place = by_space[space].pop()
        room[place].append(row)
        left[place] -= size
        by_space.setdefault(left[place], []).append(place)
    return [
        {
            "input_ids": [token for row in texts for token in row["input_ids"]],
            "labels": [label for row in texts for label in row["labels"]],
            "position_ids": [n for row in texts for n in range(len(row["input_ids"]))],
            "lines": [row["line"] for row in texts if "line" in row],
        }
        for texts in room
    ]


def _turn(turn: Message) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content or turn.calls or ""}


def _tokens(tokenizer: Any, talk: Talk, everything: bool) -> tuple[list[int], list[int], bool]:
    """The tokens of a conversation, its labels, and whether an end had to be added."""
    text = rendered(tokenizer, talk)
    spans = [(0, len(text))] if everything else _answers(tokenizer, talk, text)
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = list(coded["input_ids"])
    inside = [
        any(begin < stop and end > start for start, stop in spans)
        for begin, end in coded["offset_mapping"]
    ]
    labels = [token if learnt else IGNORED for token, learnt in zip(ids, inside, strict=True)]
    last = max((place for place, learnt in enumerate(inside) if learnt), default=None)
    if last is None or _has_end(tokenizer, ids[max(0, last - 2) : last + 1]):
        return ids, labels, False
    end = tokenizer.eos_token_id
    return [*ids[: last + 1], end], [*labels[: last + 1], end], True


def _answers(tokenizer: Any, talk: Talk, text: str) -> list[tuple[int, int]]:
    """The places of the answers in the text of a conversation, from what the template adds.

    Templates may rewrite earlier turns once later ones follow; where one does, only the last
    answer is learnt, as it stands at answering.
    """
    show: Callable[..., str] = functools.partial(rendered, tokenizer)
    spans = []
    turns = [place for place, turn in enumerate(talk) if turn["role"] == "assistant"]
    for place in reversed(turns):
        before = show(talk[:place], begin_answer=True)
        if not text.startswith(before):
            before = show(talk[:place])
        after = text if place == len(talk) - 1 else show(talk[: place + 1])
        if not (text.startswith(before) and text.startswith(after)):
            break
        spans.append((len(before), len(after)))
    if not spans:
        raise UserError(
            "the chat template writes a conversation in another way than its beginning, so the "
            "answers cannot be found in it; set learn: everything, or use another template"
        )
    return spans


def _has_end(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether some tokens hold one that ends an answer (a template may put a line after it)."""
    return any(token in ends_of(tokenizer) for token in ids)


def ends_of(tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and its template's own mark of a turn's end.

    A template that ends turns by another mark than the tokenizer's (`<|im_end|>`, `<|eot_id|>`)
    would else train a model that never stops.
    """
    ends = [tokenizer.eos_token_id]
    shown = rendered(tokenizer, [{"role": "user", "content": "a"},
                                 {"role": "assistant", "content": "b"}])  # fmt: skip
    tail = tokenizer(shown, add_special_tokens=False)["input_ids"][-3:]
    special = set(tokenizer.all_special_ids) - {tokenizer.pad_token_id, tokenizer.unk_token_id}
    return [*ends, *(token for token in reversed(tail) if token in special and token not in ends)]


def _fitting(
    ids: list[int], labels: list[int], length: int, overlong: str
) -> list[tuple[list[int], list[int]]]:
    """What is kept of a conversation that is too long."""
    if overlong == "drop":
        return []
    if overlong == "split":
        return [
            (ids[start : start + length], labels[start : start + length])
            for start in range(0, len(ids), length)
        ]
    return [(ids[:length], labels[:length])]
