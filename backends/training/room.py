"""Trainers with this project's order, seals and stops."""

import functools
import math
import shutil
from pathlib import Path
from typing import Any

import accelerate.optimizer
import msgspec
import torch
from accelerate.utils import DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer

from backends.training import checkpoints
from backends.training.batches import Order
from backends.training.meter import Meter
from backends.training.watch import Watch, exhausted
from knowledge.errors import UserError

# It searches the disk for a package, twice in every step.
accelerate.optimizer.is_lomo_available = functools.cache(accelerate.optimizer.is_lomo_available)

LEARNING = "learning.safetensors"
NAMED = 8  # rows of a bad batch that a message names


class Kept:
    """What any trainer built on transformers' gets here: seals, stops, clear lines.

    To be named before the trainer's class among the bases.
    """

    state: Any
    args: Any
    model: Any
    accelerator: Any
    _each: int | None = None  # floating point operations for each token

    def __init__(self, watch: Watch, meter: Meter, data: str, **kwargs: Any) -> None:
        super().__init__(callbacks=[watch], **kwargs)  # type: ignore[call-arg]
        self.watch, self.meter, self.data = watch, meter, data
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined] # it prints to stdout

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.accelerator.distributed_type == DistributedType.NO:  # nothing to gather
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        else:
            norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        self._refuse_nonsense("norm of the gradients", norm)
        return norm

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As transformers has it, but the parameters are counted once, not in every step."""
        tokens = inputs["input_ids"].numel() if "input_ids" in inputs else 0
        if not tokens:
            return int(super().floating_point_ops(inputs))  # type: ignore[misc]
        if self._each is None:
            self._each = int(super().floating_point_ops(inputs)) // tokens  # type: ignore[misc]
        return int(self._each * tokens)

    def _refuse_nonsense(self, what: str, value: Any, inputs: Any = None) -> None:
        """Stop before the optimizer spreads a value that is no number over the weights."""
        if math.isfinite(float(value)):
            return
        kept = checkpoints.last(Path(self.args.output_dir))
        saved = f"checkpoints/{kept[0].name} is kept" if kept else "no checkpoint was written yet"
        raise UserError(
            f"the {what} became {float(value)} in step {self.state.global_step + 1} of epoch "
            f"{int(self.state.epoch or 0) + 1}, {self._named(inputs)}; {saved}; lower "
            f"learning_rate (now {self.args.learning_rate:g}) or set precision: fp32"
        )

    def _named(self, inputs: Any) -> str:
        """Which rows a bad batch holds."""
        return "in a batch whose rows are not known"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            if _partly_saved(self.model):
                learning = {
                    name: p.detach().cpu().contiguous()
                    for name, p in self.model.named_parameters()
                    if p.requires_grad
                }
                save_file(learning, folder / LEARNING)
            checkpoints.seal(folder, self.data, self.meter.seconds, self.meter.peak_bytes)
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            # What torch says of a full disk is about its own lines of code.
            said = str(error) if isinstance(error, OSError) else "it was cut short"
            reason = " ".join(said.split())[:120]
            raise UserError(
                f"cannot write {str(folder)!r}: {reason}; free some space and go on with --resume "
                "(the checkpoint before it is intact)"
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        self._take_learning(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()  # type: ignore[misc]
        self._take_learning(Path(str(self.state.best_model_checkpoint)))

    def _take_learning(self, checkpoint: Path) -> None:
        held = checkpoint / LEARNING
        if held.is_file():
            there = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, value in load_file(held).items():
                    there[name].copy_(value)

    def is_over(self, checkpoint: Path) -> bool:
        """Whether the training that left a checkpoint had come to its end there."""
        state = msgspec.json.decode((checkpoint / "trainer_state.json").read_bytes())
        return state["global_step"] >= self.args.max_steps or exhausted(
            state["log_history"], self.watch.metric, self.watch.patience
        )

    def restore(self, checkpoint: Path) -> None:
        """Take the weights that a finished training kept, without another step."""
        self.state = type(self.state).load_from_json(str(checkpoint / "trainer_state.json"))
        best = checkpoint.with_name(f"checkpoint-{self.state.best_global_step}")
        self._load_from_checkpoint(str(best if best.is_dir() else checkpoint))


class Room(Kept, Trainer):
    """The transformers Trainer with this project's order, seals and stops."""

    def __init__(self, order: Order, watch: Watch, meter: Meter, data: str, **kwargs: Any) -> None:
        super().__init__(watch, meter, data, **kwargs)
        self.order = order
        self.pieces = 1
        self._step, self._step_inputs = -1, list[dict[str, Any]]()

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self.order

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        if self._step != self.state.global_step:
            self._step, self._step_inputs = self.state.global_step, []
        self._step_inputs.append(inputs)
        todo = [inputs]
        while True:
            try:
                losses = [
                    super(Room, self).training_step(model, piece, num_items_in_batch)
                    for batch in todo
                    for piece in portions(batch, self.pieces)
                ]
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            # What was summed of this step's gradients may be in part: it is computed anew.
            self._halve(model)
            todo = list(self._step_inputs)
        loss = torch.stack(losses).sum()
        self._refuse_nonsense("loss", loss, inputs)
        return loss

    def _halve(self, model: Any) -> None:
        """See examples in smaller portions from now on; the step's gradients stay the same.

        Raises:
            UserError: there is nothing left to halve.
        """
        rows = max(len(batch["input_ids"]) for batch in self._step_inputs)
        if self.pieces >= rows:
            longest = max(batch["input_ids"].shape[1] for batch in self._step_inputs)
            raise UserError(
                f"not even one example of {longest} tokens fits into memory; set checkpointing: "
                f"true, lower max_length (now {longest} or more), or take a smaller model"
            )
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.pieces = min(rows, 2 * self.pieces)
        note = (
            f"out of memory in step {self.state.global_step + 1}: from there on "
            f"{-(-rows // self.pieces)} examples at once instead of {rows}, summed to the same step"
        )
        self.watch.note(note)

    def _named(self, inputs: Any) -> str:
        """Which rows a bad batch holds, and which of them are bad by themselves."""
        batches = self._step_inputs if inputs is None else [inputs]
        rows = [row for batch in batches for row in portions(batch, len(batch["input_ids"]))]
        bad = [row for row in rows if not self._finite(row)]
        found = f"in the batch of {self._lines(rows)}"
        return f"{found}, by {self._lines(bad)} alone" if bad else found

    def _finite(self, row: dict[str, Any]) -> bool:
        """Whether the loss of a row by itself, with the weights as they are, is a number."""
        with torch.no_grad():
            loss = self.compute_loss(self.model, self._prepare_inputs(row), num_items_in_batch=1)
        return math.isfinite(float(loss))

    def _lines(self, rows: list[dict[str, Any]]) -> str:
        """Lines of the file that rows of batches come from where they are known, else numbers."""
        seen = [ids for row in rows for ids in row["input_ids"].tolist()]
        known = any("line" in row or "lines" in row for row in self.train_dataset)
        found = sorted(
            {
                int(line)
                for number, row in enumerate(self.train_dataset)
                if any(_is_padded(ids, list(row["input_ids"])) for ids in seen)
                for line in row.get("lines") or [row.get("line", number)]
            }
        )
        word = ("line" if known else "row") + ("s" if len(found) > 1 else "")
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        return f"{word} {', '.join(map(str, found[:NAMED]))}{more}"


def _is_padded(ids: list[int], row: list[int]) -> bool:
    """Whether the ids of a batch's row are those of a training row, filled up at the end."""
    return ids[: len(row)] == row and len(set(ids[len(row) :])) < 2


def _partly_saved(model: Any) -> bool:
    """Whether PEFT writes less than what learns (of a prompt's network, only what comes out)."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and bool(config.is_prompt_learning)


def portions(batch: dict[str, Any], pieces: int) -> list[dict[str, Any]]:
    """A batch in portions of rows, as even as can be."""
    if pieces == 1:
        return [batch]
    size = -(-len(batch["input_ids"]) // pieces)
    return [
        {key: value[start : start + size] for key, value in batch.items()}
        for start in range(0, len(batch["input_ids"]), size)
    ]


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the allocator of the CPU, had no memory left."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in said
