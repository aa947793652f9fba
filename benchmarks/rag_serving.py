"""A hundred people at once: `advisor serve` beside encoding and searching in one process.

    python benchmarks/rag_serving.py --data PATH_TO_XQUAD [--users 100] [--questions 4000]

An index of XQuAD's English paragraphs (https://github.com/google-deepmind/xquad), the packaged
encoder. The bare row embeds questions and searches in one process, as many together as the server
takes; it reads no answers out and speaks no HTTP. The server is the command itself; users are in a
process of their own on the same cores, each asks the next question as soon as the one before is
answered. `answers` are whole answers of `/v1/chat/completions`, cited. Rows take turns, medians
over rounds are told. Before a server is measured, every question is asked once: then the sentences
of the passages have their vectors, which are kept; `fresh` is how fast that went.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

MARK = 0.8
Found = TypeVar("Found")


def paragraphs(folder: Path) -> tuple[list[str], list[str]]:
    """The paragraphs of English XQuAD, and its questions."""
    articles = json.loads((folder / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    held = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return [one["context"] for one in held], [q["question"] for one in held for q in one["qas"]]


def indexed(folder: Path, texts: list[str]) -> Path:
    """A finished run over the paragraphs."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, text in enumerate(texts):
        (corpus / f"{number:03}.txt").write_text(text, encoding="utf-8")
    plan = folder / "plan.yaml"
    plan.write_text("name: p\nsteps:\n- {name: a, method: rag, data: {corpus: corpus}}\n")
    run = folder / "run"
    subprocess.run(
        [sys.executable, "-m", "advisor", "run", str(plan), "--out", str(run), "-q"], check=True
    )
    return run


def bare(run: Path, questions: list[str], count: int) -> float:
    """The questions a second of encoding and searching in this process."""
    from backends.rag.asking import Answerer
    from backends.rag.search import ranked

    answerer = Answerer(run)
    index, said = answerer._state.held, answerer._state.said
    together = answerer.embedder.batch_size

    def asked(texts: list[str]) -> None:
        vectors = answerer.embedder.questions(texts)
        for _ in ranked(index, texts, vectors, said.retriever, said.fusion):
            pass

    asked(questions[:together])
    wanted = [questions[n % len(questions)] for n in range(count)]
    begun = time.perf_counter()
    for at in range(0, count, together):
        asked(wanted[at : at + together])
    return count / (time.perf_counter() - begun)


class Person(asyncio.Protocol):
    """Asks one question after another over one connection; keeps whole replies and latencies [s].

    Requests are made beforehand and replies are looked into afterwards: what is measured is the
    server, and whatever users spend is taken from its two cores.
    """

    def __init__(self, left: Iterator[bytes], replies: list[bytes], spent: list[float]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._left, self._replies, self._spent = left, replies, spent
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head = self._read.find(b"\r\n\r\n")
        if head < 0 or len(self._read) < head + 4 + _length(self._read[:head]):
            return
        self._spent.append(time.perf_counter() - self._begun)
        self._replies.append(bytes(self._read))
        self._read.clear()
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        request = next(self._left, None)
        if request is None:
            self._transport.close()
            return
        self._begun = time.perf_counter()
        self._transport.write(request)


def _length(head: bytearray) -> int:
    return int(re.findall(rb"(?i)content-length: *(\d+)", head)[0])


def users(
    url: str, questions: list[str], count: int, people: int
) -> tuple[float, int, list[float], float]:
    """Of so many people: the rate, faults, latencies [s], and their own CPU a question [s]."""
    at = urlsplit(url)
    asked: list[bytes] = []
    for number in range(count):
        text = questions[number % len(questions)]
        body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        head = (
            f"POST {at.path}/chat/completions HTTP/1.1\r\nHost: {at.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        asked.append(head.encode() + body)
    replies: list[bytes] = []
    spent: list[float] = []

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        left = iter(asked)
        begun, used = time.perf_counter(), time.process_time()
        everybody = [
            await loop.create_connection(lambda: Person(left, replies, spent), at.hostname, at.port)
            for _ in range(people)
        ]
        await asyncio.gather(*(person.done for _, person in everybody))
        return time.perf_counter() - begun, time.process_time() - used

    seconds, used = asyncio.run(main())
    good = sum(_is_cited(reply) for reply in replies)
    return count / seconds, count - good, spent, used / count


def _is_cited(reply: bytes) -> bool:
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return False
    return bool(json.loads(body)["prediction"]["citations"])


def apart(work: Callable[..., Found], *given: object) -> Found:
    """What a function brings in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def main() -> int:
    """Do what the words say; 1 where a mark is missed."""
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--data", type=Path, required=True, help="the folder of xquad.en.json")
    words.add_argument("--users", type=int, default=100)
    words.add_argument("--questions", type=int, default=4000)
    words.add_argument("--rounds", type=int, default=3)
    said = words.parse_args()
    texts, questions = paragraphs(said.data)
    with tempfile.TemporaryDirectory() as scratch:
        run = indexed(Path(scratch), texts)
        rates: list[tuple[float, float, int, list[float], float]] = []
        first: list[float] = []
        for _ in range(said.rounds):
            alone = apart(bare, run, questions, said.questions)
            server = subprocess.Popen(
                [sys.executable, "-m", "advisor", "serve", str(run), "--port", "0", "--json"],
                stdout=subprocess.PIPE, text=True, env=os.environ | {"ADVISOR_SERVE_KEY": ""},
            )  # fmt: skip
            try:
                assert server.stdout is not None
                url = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["url"]
                first.append(apart(users, url, questions, len(questions), said.users)[0])
                rate, faults, spent, used = apart(users, url, questions, said.questions, said.users)
            finally:
                server.send_signal(signal.SIGINT)
                server.wait()
            rates.append((alone, rate, faults, spent, used))
    alone = statistics.median(one[0] for one in rates)
    rate = statistics.median(one[1] for one in rates)
    share = statistics.median(one[1] / one[0] for one in rates)
    faults = sum(one[2] for one in rates)
    spent = sorted(second for one in rates for second in one[3])
    print(f"{said.users} users, {said.questions:,} questions, median of {said.rounds}")
    print(f"encoding and searching in one process   {alone:8.0f} questions a second")
    print(f"served, whole cited answers             {rate:8.0f} a second, {share:.2f} of it")
    print(f"fresh                                   {statistics.median(first):8.0f} a second")
    half, most = (1000 * spent[int(len(spent) * p)] for p in (0.5, 0.99))
    used = statistics.median(one[4] for one in rates)
    print(f"of it users spent {1000 * used:.2f} ms of processor time a question")
    print(f"faults {faults}; latency p50 {half:.0f} ms, p99 {most:.0f} ms")
    return 0 if not faults and share >= MARK else 1


if __name__ == "__main__":
    sys.exit(main())
