"""What other trainers call the keys of a job and their values."""

ALIASES = {
    "tensor_parallel": "tp",
    "data_parallel": "dp",
    "pipeline_parallel": "pp",
    "context_parallel": "cp",
    "expert_parallel": "ep",
    "model_name_or_path": "model",
    "base_model": "model",
    "per_device_train_batch_size": "micro_batch",
    "micro_batch_size": "micro_batch",
    "batch_size": "micro_batch",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_seq_length": "seq_len",
    "max_length": "seq_len",
    "sequence_len": "seq_len",
    "cutoff_len": "seq_len",
    "num_train_epochs": "epochs",
    "gradient_checkpointing": "checkpointing",
    "activation_checkpointing": "checkpointing",
    "attn_implementation": "attention",
    "r": "lora_rank",
    "target_modules": "lora_targets",
    "num_virtual_tokens": "virtual_tokens",
    "num_generations": "completions",
    "max_new_tokens": "new_tokens",
    "gpus": "n_gpus",
    "lib": "engine",
}
"""Other names of the keys: long forms, and what trainers call them."""

VALUES: dict[str, dict[str, str]] = {
    "checkpointing": {"true": "full", "false": "none", "yes": "full", "no": "none"},
    "attention": {
        "flash_attention_2": "flash", "flash-attention-2": "flash", "flash2": "flash",
        "flash-attn": "flash", "flash_attention": "flash", "xformers": "flash",
    },
    "quant": {"4bit": "nf4", "int4": "gptq-int4", "8bit": "int8", "gptq": "gptq-int4"},
    "weights_dtype": {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "half": "fp16"},
    "optimizer": {
        "adam": "adamw", "adamw_torch": "adamw", "adamw_torch_fused": "adamw",
        "adamw_bnb_8bit": "adamw-8bit", "adamw_8bit": "adamw-8bit", "paged_adamw": "paged-adamw",
        "paged_adamw_32bit": "paged-adamw", "paged_adamw_8bit": "paged-adamw-8bit",
        "galore": "galore-adamw", "adam-8bit": "adamw-8bit",
    },
    "sharding": {"zero-1": "zero1", "zero-2": "zero2", "zero-3": "zero3", "fsdp2": "fsdp"},
    "offload": {"false": "none", "no": "none", "true": "all", "yes": "all", "cpu": "all"},
}  # fmt: skip
"""Other words for values, by key."""
