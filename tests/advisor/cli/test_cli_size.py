"""`advisor size`."""


def test_the_command_says_size_tokens_and_cost(command) -> None:
    shown = command("size", "--preset", "gpu-day").out
    assert "parameters on" in shown and "USD" in shown and "Sizes beside it" in shown
    assert command("size", "--preset", "gpu-day", "--json").json["n_gpus"] == 1
    served = command("size", "--preset", "gpu-day", "--served", "1e12")
    assert "to serve that many tokens" in served.out
    answer = command("size", "llama-3.1-8b", "--n-gpus", "64", "--json").json
    assert 1e5 > answer["time"]["gpu_hours"]["mid"] > 1e3
    for bad in (("size",), ("size", "--usd", "0"), ("size", "gpt2", "--usd", "5"),
                ("size", "--preset", "gpu-day", "--hours", "3")):  # fmt: skip
        done = command(*bad)
        assert done.code == 2 and len(done.err.strip().splitlines()) == 1
