"""What cannot be is refused in one line that names key, value and range."""

from typing import Any

import pytest

from advisor.estimates import estimate
from advisor.job import settled
from knowledge.errors import UserError

EIGHT: dict[str, Any] = {"model": "llama-3.1-8b", "method": "lora"}


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"lora_rank": 5000}, "lora_rank is 5000; it must be 1 to 4096"),
        ({"method": "full-ft", "lora_rank": 8}, "lora_rank is 8 but full-ft adds no adapter"),
        ({"method": "full-ft", "quant": "nf4"}, "quant is 'nf4' but full-ft trains its weights"),
        ({"method": "qlora", "quant": "none"}, "quant is 'none' but qlora needs a quantised base"),
        ({"method": "lora", "quant": "gguf-q4_0"}, "a format for serving"),
        ({"seq_len": 10_000_000}, "seq_len is 10000000; it must be 1 to 262144"),
        ({"tp": 3}, "tp is 3; it must divide the model's 32 heads"),
        ({"pp": 64}, "pp is 64; the model has only 32 blocks"),
        ({"ep": 2}, "ep is 2; it must divide the model's 0 experts"),
        ({"n_gpus": 6, "tp": 4}, "n_gpus is 6; it must be a multiple of tp x pp x cp = 4"),
        ({"n_gpus": 8, "dp": 3}, "dp is 3; it must divide"),
        ({"lora_targets": "q,w"}, "no target 'w'"),
        ({"model": "llama-3.1-8c"}, "did you mean 'llama-3.1-8b'"),
        ({"model": None}, "no model given"),
        ({"gpu": "abacus"}, "no GPU 'abacus'"),
        ({"gpu": "cpu", "n_gpus": 2}, "n_gpus is 2 on a cpu"),
        ({"engine": "torchtuna"}, "did you mean 'torchtune'"),
        ({"method": "loro"}, "no method 'loro'"),
        ({"model": "/no/such/config.json"}, "no file '/no/such/config.json'"),
        ({"model": {"model_type": "strange"}}, "strange"),
        ({"model": "gpt2", "seq_len": 1025}, "seq_len is 1025; it must be 1 to 1024"),
        ({"model": "all-minilm-l6-v2", "method": "head-ft", "last_k": 7}, "last_k is 7"),
    ],
)
def test_refusals(job: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        estimate(settled(EIGHT | job))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_on_disk(tmp_path: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4}')
    by_file = estimate(settled({"model": str(path), "method": "inference"}))
    by_folder = estimate(settled({"model": str(tmp_path), "method": "inference"}))
    assert by_file.memory_gib == by_folder.memory_gib
    path.write_text("[1]")
    with pytest.raises(UserError, match="holds no JSON object"):
        estimate(settled({"model": str(path)}))
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        estimate(settled({"model": str(path)}))
