"""PPO's update against a slow one written token by token, in double precision."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from backends.alignment import ppo, sampling
from backends.alignment.sampling import Batch, Sample

GAMMA, LAM, CLIP, VALUE_CLIP, COEF, RATE = 0.97, 0.9, 0.2, 0.15, 0.05, 3e-3


class Toy(torch.nn.Module):
    """A policy and a value model in double precision, and a reference."""

    def __init__(self) -> None:
        super().__init__()
        config = GPT2Config(  # it computes in double throughout; others take norms in single
            vocab_size=11, n_embd=8, n_inner=12, n_layer=1, n_head=2, n_positions=16,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=None, eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        torch.manual_seed(3)
        self.policy: Any = GPT2LMHeadModel(config).double()
        self.reference: Any = GPT2LMHeadModel(config).double()
        self.value: Any = GPT2LMHeadModel(config).double()
        self.head = torch.nn.Linear(8, 1).double()

    def values(self, some: Batch) -> torch.Tensor:
        hidden = self.value.base_model(input_ids=some.ids, attention_mask=some.mask)[0]
        return self.head(hidden).squeeze(-1)[:, :-1] * some.said


SAMPLES = [
    Sample([2, 3, 4], [5, 6, 1], "", True),
    Sample([7], [8, 9, 10, 2], "", False),
    Sample([3, 3], [1], "", True),
]
SCORES = [1.5, -0.3, 0.2]


def losses(toy: Toy, some: Batch, held: Any) -> tuple[torch.Tensor, torch.Tensor]:
    logps = sampling.logps(toy.policy, some)
    policy, _ = ppo.policy_loss(logps, held["old"], held["gains"], some.said, CLIP)
    value = ppo.value_loss(toy.values(some), held["values"], held["returns"], some.said, VALUE_CLIP)
    return policy, value


def rollout(toy: Toy, some: Batch) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        old = sampling.logps(toy.policy, some)
        kl = old - sampling.logps(toy.reference, some)
        values = toy.values(some)
        scores = torch.tensor(SCORES, dtype=torch.float64)
        rewards = ppo.whitened(
            ppo.token_rewards(scores, kl, some.said, COEF), some.said, shift=False
        )
        gains, returns = ppo.advantages(rewards, values, some.said, GAMMA, LAM)
        return {
            "old": old, "values": values, "returns": returns,
            "gains": ppo.whitened(gains, some.said),
        }  # fmt: skip


def slow_tokens(model: Any, sample: Sample) -> list[torch.Tensor]:
    """The log-probability of each token of an answer, one pass a token."""
    ids, found = list(sample.prompt), []
    for token in sample.answer:
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        found.append(logits[token] - torch.logsumexp(logits, 0))
        ids.append(token)
    return found


def slow_values(toy: Toy, sample: Sample) -> list[torch.Tensor]:
    ids, found = list(sample.prompt), []
    for token in sample.answer:
        hidden = toy.value.base_model(input_ids=torch.tensor([ids]))[0][0, -1]
        found.append(toy.head(hidden)[0])
        ids.append(token)
    return found


def spread(rows: list[list[float]]) -> tuple[float, float]:
    flat = [x for row in rows for x in row]
    middle = sum(flat) / len(flat)
    return middle, math.sqrt(sum((x - middle) ** 2 for x in flat) / len(flat) + ppo.TINY)


def slow_rollout(toy: Toy) -> list[list[dict[str, float]]]:
    """What is held of each token of each answer: numbers only, with loops."""
    rows = []
    for sample, score in zip(SAMPLES, SCORES, strict=True):
        old = [float(x.detach()) for x in slow_tokens(toy.policy, sample)]
        theirs = [float(x.detach()) for x in slow_tokens(toy.reference, sample)]
        values = [float(x.detach()) for x in slow_values(toy, sample)]
        earned = [-COEF * (a - b) for a, b in zip(old, theirs, strict=True)]
        earned[-1] += score
        rows.append((old, values, earned))
    middle, deviation = spread([earned for _, _, earned in rows])
    held, gains = [], []
    for old, values, earned in rows:
        scaled = [(x - middle) / deviation + middle for x in earned]
        found = []
        for t in range(len(scaled)):
            total = 0.0
            for k in range(t, len(scaled)):
                after = values[k + 1] if k + 1 < len(scaled) else 0.0
                total += (GAMMA * LAM) ** (k - t) * (scaled[k] + GAMMA * after - values[k])
            found.append(total)
        gains.append(found)
        held.append((old, values, found))
    middle, deviation = spread(gains)
    return [
        [
            {"old": o, "value": v, "gain": (g - middle) / deviation, "return": g + v}
            for o, v, g in zip(*row, strict=True)
        ]
        for row in held
    ]


def slow_losses(toy: Toy, held: Any) -> tuple[torch.Tensor, torch.Tensor]:
    policy: Any = 0.0
    value: Any = 0.0
    count = 0
    for sample, row in zip(SAMPLES, held, strict=True):
        now = slow_tokens(toy.policy, sample)
        values = slow_values(toy, sample)
        for logp, v, one in zip(now, values, row, strict=True):
            ratio = torch.exp(logp - one["old"])
            policy = policy - torch.minimum(
                ratio * one["gain"], torch.clamp(ratio, 1 - CLIP, 1 + CLIP) * one["gain"]
            )
            held_v = one["value"] + torch.clamp(v - one["value"], -VALUE_CLIP, VALUE_CLIP)
            value = value + 0.5 * torch.maximum(
                (v - one["return"]) ** 2, (held_v - one["return"]) ** 2
            )
            count += 1
    return policy / count, value / count


def test_four_updates_equal_those_of_the_slow_reference() -> None:
    toy, other = Toy(), Toy()
    some = sampling.batch(SAMPLES, 0)
    held, slow = rollout(toy, some), slow_rollout(other)
    fast_step = torch.optim.Adam([*toy.policy.parameters(), *toy.value.parameters(),
                                  *toy.head.parameters()], lr=RATE)  # fmt: skip
    slow_step = torch.optim.Adam([*other.policy.parameters(), *other.value.parameters(),
                                  *other.head.parameters()], lr=RATE)  # fmt: skip
    before = [p.detach().clone() for p in toy.policy.parameters()]
    for _ in range(4):
        for model, step, found in (
            (toy, fast_step, lambda: losses(toy, some, held)),
            (other, slow_step, lambda: slow_losses(other, slow)),
        ):
            model.zero_grad()
            policy, value = found()
            (policy + value).backward()
            step.step()
    moved = max(
        float((a - b).detach().abs().max())
        for a, b in zip(before, toy.policy.parameters(), strict=True)
    )
    apart = max(
        float((a - b).detach().abs().max())
        for a, b in zip(toy.parameters(), other.parameters(), strict=True)
    )
    assert moved > 1e-3
    assert apart < 1e-9


def test_its_gradient_is_that_of_finite_differences() -> None:
    toy = Toy()
    some = sampling.batch(SAMPLES, 0)
    held = rollout(toy, some)
    with torch.no_grad():  # away from ratio one, where the clipped loss has its kink
        for parameter in toy.policy.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for parameter in toy.head.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    policy, value = losses(toy, some, held)
    toy.zero_grad()
    (policy + value).backward()
    chance = torch.Generator().manual_seed(0)
    checked = 0
    for parameter in [*toy.policy.parameters(), *toy.value.parameters(), *toy.head.parameters()]:
        if parameter.grad is None:
            continue
        flat, slope = parameter.detach().view(-1), parameter.grad.view(-1)
        for place in torch.randperm(len(flat), generator=chance)[:3].tolist():
            kept = float(flat[place])
            sums = []
            for move in (1e-6, -1e-6):
                flat[place] = kept + move
                with torch.no_grad():
                    sums.append(float(sum(losses(toy, some, held))))
            flat[place] = kept
            assert (sums[0] - sums[1]) / 2e-6 == pytest.approx(float(slope[place]), abs=2e-7)
            checked += 1
    assert checked > 40


def test_what_stands_outside_an_answer_changes_nothing() -> None:
    toy = Toy()
    alone = rollout(toy, sampling.batch(SAMPLES[:1], 0))
    beside = sampling.batch(SAMPLES, 0)
    logps = sampling.logps(toy.policy, beside).detach()
    said = beside.said[0]
    one = sampling.batch(SAMPLES[:1], 0)
    assert torch.allclose(logps[0][said], alone["old"][0][one.said[0]])
    assert float(logps[~beside.said].abs().max()) == 0.0


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    st.floats(0.5, 1),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_advantages_telescope(values: list[float], gamma: float, lam: float) -> None:
    """With the values of the discounted rewards to come, no token is better than expected."""
    count = len(values)
    rewards = torch.tensor([values], dtype=torch.float64)
    to_come = torch.zeros_like(rewards)
    later = 0.0
    for place in reversed(range(count)):
        later = values[place] + gamma * later
        to_come[0, place] = later
    said = torch.ones((1, count), dtype=torch.bool)
    gains, returns = ppo.advantages(rewards, to_come, said, gamma, lam)
    assert torch.allclose(gains, torch.zeros_like(gains), atol=1e-9)
    assert torch.allclose(returns, to_come)


def test_what_is_only_noise_is_not_blown_up() -> None:
    said = torch.ones((1, 4), dtype=torch.bool)
    noise = torch.tensor([[0.01, -0.01, 0.01, -0.01]], dtype=torch.float64)
    assert float(ppo.whitened(noise, said).abs().max()) == pytest.approx(1.0, rel=1e-3)
    assert float(ppo.whitened(noise, said, least=0.1).abs().max()) == pytest.approx(0.1, rel=1e-3)


def test_the_price_of_kl_follows_the_target() -> None:
    price = ppo.Price(0.1, 6.0, 100)
    assert price.after(12.0, 50).coef == pytest.approx(0.1 * 1.1)
    assert price.after(0.0, 50).coef == pytest.approx(0.1 * 0.9)
    assert price.after(6.0, 50).coef == pytest.approx(0.1)
