"""Fine-tuning by the provider: training file up, job started once, watched, resumed, booked.

What has been done stands in `tuning.json` before the next step. A job costs money, so it is never
started twice: one that a killed process may have started is looked for at the provider first.

Source: https://platform.openai.com/docs/api-reference/fine-tuning
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import openai

from backends.base import Context
from backends.data import Message
from backends.prompting import Settings, Tuning
from backends.prompting.address import Address
from backends.prompting.items import Item
from backends.prompting.money import MILLION, TOKENS_A_MESSAGE
from backends.prompting.prompts import Prompt
from backends.prompting.store import Store
from backends.prompting.tokens import Counter
from knowledge.errors import UserError

MARK = "advisor"  # the key in a job's metadata by which it is found again
LEAST_EXAMPLES = 10  # as OpenAI's API demands
FINISHED = ("succeeded", "failed", "cancelled")
STATE = "tuning.json"


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a tuning has come; `attempt` is its number in the store."""

    digest: str
    attempt: int | None = None
    file: str | None = None
    validation: str | None = None
    job: str | None = None
    model: str | None = None
    trained_tokens: int | None = None


class Tuner:
    """One tuning of one step."""

    def __init__(
        self, where: Address, settings: Settings, prompt: Prompt, store: Store, context: Context
    ) -> None:
        assert settings.tuning is not None  # the caller looked
        self._where = where
        self._wanted: Tuning = settings.tuning
        self._settings = settings
        self._prompt = prompt
        self._store = store
        self._context = context
        self._path = context.folder / STATE
        self._api = openai.OpenAI(
            api_key=where.key or "none",
            base_url=where.plain,
            timeout=settings.timeout_s,
            max_retries=settings.retries,
            http_client=openai.DefaultHttpxClient(trust_env=not where.local),
        )

    def tuned(self, train: Sequence[Item], validation: Sequence[Item]) -> State:
        """The finished tuning; its model is what `predict` asks for.

        Raises:
            UserError: too few examples, not enough budget, or a job that failed.
            Interrupted: the user stopped it; the job goes on at the provider.
        """
        file = self._written(train, "tuning-train.jsonl")
        held = self._written(validation, "tuning-validation.jsonl") if validation else None
        digest = _digest(file, held, self._prompt.model, self._wanted)
        state = self._restored(digest)
        with self._api, self._told():
            if state.job is None:
                state = self._started(state, file, held, self._worst(train))
            return state if state.model is not None else self._watched(state)

    def _worst(self, train: Sequence[Item]) -> float | None:
        """The most that the job may cost [USD], and a refusal where the budget has less.

        Raises:
            UserError: a budget that the job may exceed, or whose cost nobody knows.
        """
        price, budget = self._wanted.usd_per_1m_training, self._context.budget_usd
        if price is None and budget is not None:
            raise UserError(
                f"a budget of {budget:g} USD cannot be kept without a price of training; set "
                f"tuning: {{usd_per_1m_training: ...}}"
            )
        if price is None:
            return None
        tokens = self._wanted.epochs * _most_tokens(self._prompt, train, self._settings)
        worst = tokens * price / MILLION
        left = None if budget is None else budget - self._store.spent
        if left is not None and worst > left:
            raise UserError(
                f"tuning may cost {worst:.4g} USD ({tokens:,} tokens at most, {price:g} USD per "
                f"1e6), and {left:.4g} USD is left; raise the budget, or lower epochs"
            )
        return worst

    def _started(self, state: State, file: Path, held: Path | None, worst: float | None) -> State:
        found = self._job_of(state.digest)
        if state.attempt is None:
            number = self._store.sent(f"tuning {state.digest}", worst)
            state = self._saved(state, attempt=number)
        if found is not None:
            return self._saved(state, job=found)
        if state.file is None:
            state = self._saved(state, file=self._uploaded(file))
        if held is not None and state.validation is None:
            state = self._saved(state, validation=self._uploaded(held))
        hyper = {
            "n_epochs": self._wanted.epochs,
            "batch_size": self._wanted.batch_size,
            "learning_rate_multiplier": self._wanted.learning_rate_multiplier,
        }
        given = {name: value for name, value in hyper.items() if value is not None}
        optional: dict[str, Any] = {"suffix": self._wanted.suffix, "seed": self._context.seed}
        if state.validation is not None:
            optional["validation_file"] = state.validation
        job = self._api.fine_tuning.jobs.create(
            model=self._prompt.model,
            training_file=state.file,
            method={"type": "supervised", "supervised": {"hyperparameters": given}},
            metadata={MARK: state.digest},
            extra_headers={"Idempotency-Key": state.digest},
            **{name: value for name, value in optional.items() if value is not None},
        )
        self._context.progress.note(f"tuning job {job.id} at {self._where.host}")
        return self._saved(state, job=job.id)

    def _watched(self, state: State) -> State:
        """The state once the job has succeeded."""
        self._context.progress.start("tuning", 1, "job")
        before = ""
        while True:
            job = self._api.fine_tuning.jobs.retrieve(state.job or "")
            if job.status != before:
                before = job.status
                self._context.progress.note(f"tuning job {job.id}: {before}")
            if job.status in FINISHED:
                break
            until = time.monotonic() + self._wanted.poll_s
            while time.monotonic() < until:
                self._context.check_stop(
                    f"tuning job {job.id} goes on at {self._where.host}; --resume watches it again"
                )
                time.sleep(min(0.2, self._wanted.poll_s))
        tokens = job.trained_tokens
        self._book(state, tokens, free=job.status != "succeeded" and not tokens)
        if job.status != "succeeded" or job.fine_tuned_model is None:
            self._path.unlink()  # a new run may try again
            reason = " ".join(((job.error.message if job.error else None) or "no reason").split())
            raise UserError(f"tuning job {job.id} {job.status}: {reason[:200]}")
        self._context.progress.advance(1)
        return self._saved(state, model=job.fine_tuned_model, trained_tokens=tokens)

    def _book(self, state: State, tokens: int | None, *, free: bool) -> None:
        """Book what was trained; without a count the worst case stays."""
        price = self._wanted.usd_per_1m_training
        if state.attempt is not None and price is not None and (tokens is not None or free):
            self._store.book(state.attempt, (tokens or 0) * price / MILLION)

    def _uploaded(self, file: Path) -> str:
        with file.open("rb") as content:
            return str(self._api.files.create(file=content, purpose="fine-tune").id)

    def _job_of(self, digest: str) -> str | None:
        """A job that an earlier process started before it could write that down."""
        for job in self._api.fine_tuning.jobs.list(limit=50):
            mine = (job.metadata or {}).get(MARK) == digest
            if mine and job.status not in ("failed", "cancelled"):
                return str(job.id)
        return None

    def _written(self, items: Sequence[Item], name: str) -> Path:
        """The items as chats that end with the accepted answer, one JSON line each."""
        if len(items) < LEAST_EXAMPLES and "train" in name:
            raise UserError(
                f"tuning needs at least {LEAST_EXAMPLES} training examples; there are {len(items)}"
            )
        file = self._context.folder / name
        with file.open("wb") as lines:
            for item in items:
                turns = [{"role": m.role, "content": m.content} for m in _chat(self._prompt, item)]
                lines.write(msgspec.json.encode({"messages": turns}) + b"\n")
        return file

    def _restored(self, digest: str) -> State:
        """Where an earlier process left off; another tuning in the folder is not gone on with."""
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            return State(digest)
        return state if state.digest == digest else State(digest)

    def _saved(self, state: State, **changes: Any) -> State:
        changed = msgspec.structs.replace(state, **changes)
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(changed))
        beside.replace(self._path)
        return changed

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the API refuses into one line, without the key."""
        host = self._where.host
        try:
            yield
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(
                f"{host} refuses the key ({error.status_code}); check OPENAI_API_KEY"
            ) from None
        except openai.NotFoundError as error:
            said = self._where.masked(error.message)
            raise UserError(f"{host} offers no fine-tuning here ({said[:160]})") from None
        except openai.APIStatusError as error:
            said = " ".join(self._where.masked(error.message).split())
            raise UserError(f"{host}: {error.status_code}: {said[:200]}") from None
        except openai.APIConnectionError:
            raise UserError(f"{host} cannot be reached; go on with --resume") from None


def _chat(prompt: Prompt, item: Item) -> tuple[Message, ...]:
    return (*prompt.messages(item.text, item.before, ()), Message("assistant", item.accepted[0]))


def _most_tokens(prompt: Prompt, train: Sequence[Item], settings: Settings) -> int:
    """A bound on the tokens of one epoch: counted where a tokenizer is named, else bytes."""
    counter = Counter(settings.tokenizer)
    total = 0
    for item in train:
        for message in _chat(prompt, item):
            content = message.content
            total += counter.count(content) if counter.exact else len(content.encode())
            total += TOKENS_A_MESSAGE
    return total


def _digest(file: Path, held: Path | None, model: str, wanted: Tuning) -> str:
    """What tells one tuning from another: its data and all that is asked of it."""
    digest = sha256(file.read_bytes())
    digest.update(held.read_bytes() if held is not None else b"")
    asked = msgspec.structs.replace(wanted, poll_s=1.0, usd_per_1m_training=None)
    digest.update(model.encode() + msgspec.json.encode(asked))
    return digest.hexdigest()[:40]
