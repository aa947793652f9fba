"""How fast requests may go: so many requests and tokens a minute, and waits that are asked for."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

MINUTE = 60.0
LOOKED_AT = 32  # replies; when half of them say "slow down", everybody does


class Bucket:
    """An allowance that refills evenly: in no minute more than the limit is taken.

    It holds a second's worth, or the largest single need; the refill is slower by that much.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._limit = per_minute
        self._holds = max(1.0, per_minute / MINUTE)
        self._level = self._holds
        self._at = now

    def wait(self, need: float, now: float) -> float:
        """The wait until so much may be taken [s]; 0 is now."""
        self._holds = max(self._holds, min(need, self._limit / 2))
        self._level = min(self._holds, self._level + (now - self._at) * self._rate)
        self._at = now
        short = min(need, self._holds) - self._level
        return 0.0 if short <= 1e-9 else short / self._rate

    def take(self, need: float) -> None:
        """Take so much; a need above what the bucket holds leaves a debt to wait for."""
        self._level -= need

    def give_back(self, unused: float) -> None:
        """What was taken beforehand and then not needed."""
        self._level = min(self._holds, self._level + unused)

    @property
    def _rate(self) -> float:
        """What comes back a second; a full bucket and a minute's refill are within the limit."""
        return (self._limit - (self._holds - 1)) / MINUTE


class Slots:
    """So many requests in flight; attempts that are repeated go before those that are new."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._again: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self, *, again: bool) -> AsyncIterator[None]:
        """A slot, for as long as the block lasts."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            (self._again if again else self._new).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        for waiting in (self._again, self._new):
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


class Pace:
    """When the next request may be sent."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        now = asyncio.get_running_loop().time()
        self._requests = None if requests is None else Bucket(requests, now)
        self._tokens = None if tokens is None else Bucket(tokens, now)
        self._turn = asyncio.Lock()
        self._not_before = 0.0
        self._refused: deque[bool] = deque(maxlen=LOOKED_AT)
        self._faults: deque[bool] = deque(maxlen=LOOKED_AT)
        self._jitter = Random()

    async def allowed(self, tokens: int) -> None:
        """Return when a request that may take so many tokens may go; it is counted then."""
        clock = asyncio.get_running_loop().time
        while (wait := self._not_before - clock()) > 0:
            # Not all at the same instant: the endpoint has just said that it was too much.
            await asyncio.sleep(wait * self._jitter.uniform(1.0, 1.1))
        if self._requests is None and self._tokens is None:
            return
        async with self._turn:  # in the order they came
            while (wait := self._wait(tokens, clock())) > 0:
                await asyncio.sleep(wait)
            if self._requests is not None:
                self._requests.take(1)
            if self._tokens is not None:
                self._tokens.take(tokens)

    def settled(self, reserved: int, used: int | None) -> None:
        """Correct the count of tokens by what a reply says was used."""
        self._refused.append(False)
        self._faults.append(False)
        if self._tokens is not None and used is not None:
            self._tokens.give_back(reserved - used)

    def faulty(self) -> float:
        """Note a fault; how troubled the endpoint is, 1 where half of the last attempts failed."""
        self._faults.append(True)
        return min(1.0, 2 * sum(self._faults) / len(self._faults))

    def refused(self, wait: float) -> float:
        """How long this one request waits [s]; where most are refused, all are held back."""
        self._refused.append(True)
        if 2 * sum(self._refused) >= len(self._refused):
            clock = asyncio.get_running_loop().time
            self._not_before = max(self._not_before, clock() + wait)
        return wait * self._jitter.uniform(1.0, 1.1)

    def _wait(self, tokens: int, now: float) -> float:
        by_requests = 0.0 if self._requests is None else self._requests.wait(1, now)
        by_tokens = 0.0 if self._tokens is None else self._tokens.wait(tokens, now)
        return max(by_requests, by_tokens)
