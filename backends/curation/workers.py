"""Batches sifted and sketched, here or by several processes, given back in their order."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from backends.curation import Settings
from backends.curation.records import Doc, Ledger
from backends.curation.sieves import Sieves
from backends.curation.sketches import Columns, columns_of

AHEAD = 2  # batches of each process that are read before they are asked for
PERIOD = 1.0  # seconds between looks at whether the parent is there still


class Batch(NamedTuple):
    """Raw documents, how many were taken with the last of them, and the counts so far."""

    taken: int
    docs: list[Doc]
    ledger: Ledger


class Done(NamedTuple):
    """What is left of a batch, with all counts and the sketches of what is left."""

    taken: int
    docs: list[Doc]
    ledger: Ledger
    columns: Columns


def in_order(
    batches: Iterator[Batch], sieves: Sieves, settings: Settings
) -> Generator[Done, None, None]:
    """Each batch sifted, in the order they came; with more workers by as many processes."""
    if settings.workers == 1:
        yield from (_sifted(batch, sieves, settings.run_words) for batch in batches)
        return
    with ProcessPoolExecutor(
        settings.workers,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(sieves, settings.run_words, os.getpid()),
    ) as pool:
        waiting: deque[Future[Done]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_sifted_there, batch))
                if len(waiting) > AHEAD * settings.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _sifted(batch: Batch, sieves: Sieves, run: int) -> Done:
    left = sieves.sifted(batch.docs, batch.ledger)
    return Done(batch.taken, left, batch.ledger, columns_of([doc.text for doc in left], run))


_OURS: list[tuple[Sieves, int]] = []  # what this process was begun with


def _begin(sieves: Sieves, run: int, parent: int) -> None:
    """Make this process ready: Ctrl-C is the parent's to answer, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _OURS.append((sieves, run))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PERIOD)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _sifted_there(batch: Batch) -> Done:
    return _sifted(batch, *_OURS[0])
