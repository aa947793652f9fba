"""From a `config.json` to the architecture it describes, family by family, never guessed."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from knowledge.architecture import Architecture
from knowledge.errors import UserError
from knowledge.families import decoders, elders, encoders, experts, pairs
from knowledge.families.defaults import DEFAULTS
from knowledge.families.keys import Keys

FAMILIES: Final[Mapping[str, Callable[[Keys], Architecture]]] = {
    "llama": decoders.llama,
    "mistral": decoders.mistral,
    "ministral3": decoders.mistral,
    "qwen2": decoders.qwen2,
    "qwen3": decoders.qwen3,
    "hunyuan_v1_dense": decoders.hunyuan,
    "gemma": decoders.gemma,
    "gemma2": decoders.gemma2,
    "gemma3_text": decoders.gemma3,
    "phi": decoders.phi,
    "phi3": decoders.phi3,
    "olmo": decoders.olmo,
    "olmo2": decoders.olmo2,
    "olmo3": decoders.olmo3,
    "granite": decoders.granite,
    "smollm3": decoders.smollm3,
    "cohere": decoders.cohere,
    "stablelm": decoders.stablelm,
    "starcoder2": decoders.starcoder2,
    "nemotron": decoders.nemotron,
    "mixtral": experts.mixtral,
    "qwen2_moe": experts.qwen2_moe,
    "qwen3_moe": experts.qwen3_moe,
    "gpt_oss": experts.gpt_oss,
    "deepseek_v2": experts.deepseek,
    "deepseek_v3": experts.deepseek,
    "gpt2": elders.gpt2,
    "gpt_neox": elders.gpt_neox,
    "gptj": elders.gptj,
    "opt": elders.opt,
    "bloom": elders.bloom,
    "falcon": elders.falcon,
    "mpt": elders.mpt,
    "qwen": elders.qwen,
    "baichuan": elders.baichuan,
    "chatglm": elders.chatglm,
    "bert": encoders.bert,
    "roberta": encoders.roberta,
    "xlm-roberta": encoders.roberta,
    "distilbert": encoders.distilbert,
    "electra": encoders.electra,
    "albert": encoders.albert,
    "mpnet": encoders.mpnet,
    "deberta-v2": encoders.deberta,
    "modernbert": encoders.modernbert,
    "t5": pairs.t5,
    "mt5": pairs.t5,
    "bart": pairs.bart,
}


def architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a `config.json` describes.

    A config with a vision or audio part (Gemma 3, Mistral 3) is read for its text part alone.

    Raises:
        UserError: the family is not known, a needed key is missing, or a value is impossible.
    Source: the configuration and modelling files of transformers 5.23; see `FAMILIES`.
    """
    text = config.get("text_config")
    if isinstance(text, Mapping):
        outer = str(config.get("model_type"))
        inner = {"gemma3": "gemma3_text", "mistral3": "mistral"}.get(outer)
        return architecture({"model_type": inner, **text} if inner else text)
    family = config.get("model_type")
    if family is None:
        raise UserError("the config has no 'model_type'; add the key that names its family")
    if family not in FAMILIES:
        raise UserError(
            f"model_type {family!r} can't be estimated in closed form; "
            f"known: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[family](Keys(config, DEFAULTS[family]))
