"""From a job to its physics: what was not said is derived, and said among the assumptions."""

from typing import Any

from advisor.estimates import checks, parameters
from advisor.estimates.formats import BYTES, OPTIMIZERS, QUANTISATIONS, state_bytes
from advisor.estimates.subject import architecture
from advisor.estimates.workload import Numbers, Split, Workload
from advisor.job import Job
from knowledge import engines, methods
from knowledge.architecture import Architecture
from knowledge.engines import Engine
from knowledge.methods import Method

LARGE = 1e9
"""Decoders of so many parameters are trained with full checkpointing unless the job says not."""
SEQUENCE = {"decoder": 2048, "encoder": 128, "encoder-decoder": 512}


def settled(job: Job) -> Workload:
    """The physics of a job.

    Raises:
        UserError: the job contradicts itself, its model or its method.
    """
    arch = architecture(job.model)
    method = methods.find(job.method)
    engine = engines.find(job.engine or "transformers")
    return _Settling(job, arch, method, engine).workload()


class _Settling:
    """One job on its way; `notes` collects what is assumed."""

    def __init__(self, job: Job, arch: Architecture, method: Method, engine: Engine) -> None:
        self.job, self.arch, self.method, self.engine = job, arch, method, engine
        self.notes: list[str] = []
        self.trains = "training" in method.phases
        self.quant = self._quant()
        self.adapter = self._adapter()
        self.checked = checks.check(job, arch, method, self.quant, self.adapter)

    def assume(self, text: str) -> None:
        self.notes.append(text)

    def _quant(self) -> str:
        if self.job.quant is None and self.method.quant == "must":
            self.assume("weights in NF4 with double quantisation")
            return "nf4-dq"
        return self.job.quant or "none"

    def _adapter(self) -> Method | None:
        if self.method.trains == "added":
            return self.method
        asked = self.job.lora_rank or self.job.lora_targets or self.quant != "none"
        if self.method.adapter and asked and self.trains:
            return methods.find(self.method.adapter)
        return None

    def workload(self) -> Workload:
        job, arch, method = self.job, self.arch, self.method
        sizes = self._sizes()
        outputs = self._outputs()
        share = self._trained_share()
        words = self._targets()
        counts = parameters.counted(
            arch, self.engine, method,
            adapter=self.adapter, words=words, sizes=sizes, outputs=outputs, trained_share=share,
            train_also=job.train_also or "", trainable=job.trainable_params,
        )  # fmt: skip
        split = self._split()
        numbers = self._numbers()
        tokens, new_tokens = self._tokens(sizes)
        batch = float(job.micro_batch or 1)
        if split.pipeline > 1 and self.engine.local_batch:
            batch = max(batch / split.pipeline, 1.0)
        sequences = batch * method.sequences * self._completions()
        if job.micro_batch is None:
            self.assume("micro-batch 1")
        loss = job.loss_impl or "full"
        fused = bool(job.compile) or self.engine.fused_norm
        return Workload(
            arch=arch, method=method, engine=self.engine, counts=counts, numbers=numbers,
            split=split, extras=self._extras(), trains=self.trains, adapter=self.adapter,
            targets=words, sizes=sizes,
            adapter_dropout=self.engine.adapter_dropout or bool(job.lora_dropout),
            trained_blocks=self._trained_blocks(share),
            sequences=sequences, tokens=tokens / split.context, span=tokens,
            new_tokens=new_tokens, checkpointing=self._checkpointing(),
            attention=job.attention or "sdpa", fused=fused, loss=loss,
            loss_bytes=self.engine.loss_bytes[loss], tiles=self._tiles(), outputs=outputs,
            kv_bits=job.kv_bits or 8 * numbers.compute,
            accumulates=(job.gradient_accumulation or 1) > 1 or self.engine.keeps_gradients
            or bool(self.adapter and self.adapter.regularised),
            moment=job.phase or "peak",
            scores=not (method.scores_within and job.reference == "precomputed"),
            reach=1.0 if job.seq_len_is in (None, "exact") else 0.0,
            gpu=job.gpu, assumptions=tuple(self.notes),
        )  # fmt: skip

    def _tiles(self) -> str:
        if not (self.method.tiled and self.engine.tile_words) or self.job.loss_impl is not None:
            return ""
        return "torch" if self.job.gpu == "cpu" else "kernel"

    def _sizes(self) -> dict[str, float]:
        job = self.job
        sizes = parameters.model_sizes(self.arch)
        solved = self._solved_tokens(sizes)
        said = {
            "rank": job.lora_rank, "tokens": solved, "width": job.adapter_width,
        }  # fmt: skip
        if self.adapter is not None:
            sizes |= self.adapter.defaults
            for name, value in said.items():
                if value is not None:
                    sizes[name] = float(value)
                elif name in self.adapter.defaults:
                    self.assume(f"{name} {self.adapter.defaults[name]:g}")
        return sizes

    def _solved_tokens(self, sizes: dict[str, float]) -> float | None:
        """The trained tokens said, or those that the count of trained parameters implies."""
        job, how = self.job, self.adapter
        if job.virtual_tokens is not None or job.trainable_params is None or how is None:
            return job.virtual_tokens
        if "tokens" not in how.defaults or how.added.per_target:
            return None
        none, one = (
            parameters.added(self.arch, how.added, "", {**sizes, **how.defaults, "tokens": n})
            for n in (0.0, 1.0)
        )
        return max((job.trainable_params - none) / (one - none), 1.0)

    def _outputs(self) -> float:
        classes = self.job.classes
        if self.method.logits == "classes":
            return float(classes or (2 if self.method.trains == "head" else 1))
        if self.arch.kind == "encoder" and self.adapter is not None and classes is None:
            self.assume("a classifier of 2 classes")
            classes = 2
        if classes is not None and self.trains:
            return float(classes)
        if self.arch.kind == "encoder" and not self.trains:
            return 0.0
        return float(self.arch.vocab)

    def _trained_share(self) -> float:
        if self.method.trains != "head":
            return 1.0
        how = self.job.train or "head"
        if self.job.train is None:
            self.assume("only the head trains, the encoder is frozen")
        blocks = self.arch.layers
        return {"head": 0.0, "all": 1.0}.get(how, min(self.job.last_k or 1, blocks) / blocks)

    def _trained_blocks(self, share: float) -> float:
        blocks = self.arch.layers + self.arch.decoder_layers
        return blocks * share if self.trains else 0.0

    def _targets(self) -> str:
        if self.adapter is None or not self.adapter.targets:
            return ""
        if self.job.lora_targets is None:
            self.assume(f"adapters on {self.adapter.targets}")
        return self.job.lora_targets or self.adapter.targets

    def _completions(self) -> float:
        if not self.method.group:
            return 1.0
        if self.job.completions is None:
            self.assume("8 completions for each prompt")
        return float(self.job.completions or 8)

    def _extras(self) -> tuple[Any, ...]:
        gone = self.job.reference == "precomputed"
        return tuple(
            extra
            for extra in self.method.extra_models
            if not (extra.shared_with_adapter and self.adapter is not None)
            and not (gone and extra.role == "reference")
        )

    def _tokens(self, sizes: dict[str, float]) -> tuple[float, float]:
        job = self.job
        limit = self.arch.context
        usual = float(min(SEQUENCE[self.arch.kind], limit or 10**9))
        generates = "generation" in self.method.phases
        new = float(job.new_tokens if job.new_tokens is not None else 256 if generates else 0)
        if job.seq_len is None:
            usual = usual if self.trains else (128.0 if job.new_tokens is not None else usual)
            self.assume(f"sequences of {usual:g} tokens")
        if generates and job.new_tokens is None and not self.trains:
            self.assume(f"{new:g} new tokens for each sequence")
        said = job.tokens_in if generates and not self.trains else None
        tokens = float(said or job.seq_len or usual)
        if self.adapter is not None and self.adapter.added_sequence:
            tokens += sizes["tokens"]
        return tokens, new

    def _checkpointing(self) -> str:
        job = self.job
        if job.checkpointing is not None:
            offloads = self.engine.offloads_checkpoints and job.checkpointing == "full"
            return "full-offloaded" if offloads else job.checkpointing
        large = self.arch.kind == "decoder" and self.arch.parameters() >= LARGE
        if not self.trains or not large:
            return "none"
        if self.method.from_scratch:
            self.assume("selective checkpointing: cheap activations are recomputed")
            return "selective"
        self.assume("full checkpointing: block activations are recomputed")
        return "full"

    def _numbers(self) -> Numbers:
        job, engine = self.job, self.engine
        scheme = QUANTISATIONS.get(self.quant)
        usual = "bf16" if self.arch.kind == "decoder" else "fp32"
        dtype = job.weights_dtype or usual
        if job.weights_dtype is None:
            self.assume(f"weights in {dtype}" if scheme is None else f"computed in {dtype}")
        weight = BYTES[dtype]
        all_trained = self.trains and self.adapter is None
        master = job.master_dtype or (
            engine.master_dtype if all_trained and weight == 2 else "none"
        )
        optimizer = OPTIMIZERS[job.optimizer or "adamw"]
        if self.trains and job.optimizer is None:
            self.assume("AdamW")
        autocast = self._autocast(weight)
        trained = 4.0 if master == "fp32" else weight
        added = self._added_bytes(weight)
        rest = 4.0 if scheme and self.trains and engine.frozen_rest_dtype == "fp32" else weight
        return Numbers(
            weight=weight, compute=2.0 if autocast else weight, quantisation=scheme,
            quantises_head=engine.quantises_head or bool(scheme and scheme.everything),
            unquantised=rest,
            master=4.0 if master == "fp32" and weight < 4 else 0.0,
            gradient=4.0 if engine.gradient_dtype == "fp32" else weight,
            states=optimizer.states * self._state(optimizer.dtype, trained),
            added=added, added_states=optimizer.states * self._state(optimizer.dtype, added),
            autocast=autocast, paged=optimizer.paged,
            in_backward=bool(job.in_backward) or optimizer.in_backward,
            low_rank=optimizer.low_rank,
            foreach=optimizer.foreach,
        )  # fmt: skip

    def _added_bytes(self, weight: float) -> float:
        if self.job.adapter_dtype is not None:
            return BYTES[self.job.adapter_dtype]
        new = self.adapter is not None and self.adapter.new_blocks
        habit = self.engine.new_blocks_dtype if new else self.engine.adapter_dtype
        return weight if habit == "as-weights" else 4.0

    def _autocast(self, weight: float) -> bool:
        if weight < 4 or not self.trains:
            return False
        if self.job.autocast is None and self.arch.kind == "decoder":
            self.assume("fp32 weights computed in bf16 (autocast)")
            return True
        return bool(self.job.autocast)

    def _state(self, fixed: str | None, trained: float) -> float:
        said = self.job.optimizer_dtype
        if said is None or said == "as-weights":
            return state_bytes(fixed) if fixed else trained
        return state_bytes(said)

    def _split(self) -> Split:
        job = self.job
        ranks = self.checked
        shard = job.sharding or ("fsdp" if self.trains and ranks.data > 1 else "none")
        if job.sharding is None and shard != "none":
            self.assume("weights, gradients and states sharded over the data-parallel ranks (FSDP)")
        group = float(ranks.data * ranks.context)
        if shard == "hsdp":
            group = float(job.shard_group or min(8, ranks.data))
        everything = shard in ("zero3", "fsdp", "hsdp")
        serving = not self.trains and job.tp is None and job.pp is None
        # Served on several GPUs without a word on how, the blocks are dealt out (device_map).
        weights = group if everything else float(ranks.gpus) if serving else 1.0
        offload = job.offload or "none"
        return Split(
            gpus=ranks.gpus, data=ranks.data, tensor=ranks.tensor, pipeline=ranks.pipeline,
            context=ranks.context, expert=ranks.expert, weights=weights,
            gradients=group if everything or shard == "zero2" else 1.0,
            states=group if everything or shard in ("zero1", "zero2") else 1.0,
            sequence_parallel=ranks.tensor > 1 and job.sequence_parallel is not False,
            offload_states=offload in ("optimizer", "all"),
            offload_weights=offload in ("params", "all"),
        )  # fmt: skip
