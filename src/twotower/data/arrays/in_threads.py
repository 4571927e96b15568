"""The same work on many parts, one part a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_threads(work: Callable[[Given], Made], parts: Iterable[Given]) -> Iterator[Made]:
    """What the work makes of each part, in their order; as many parts at once as torch has threads,
    each on one of them: most of the work between two products of matrices is of one thread.

    Raises:
        Exception: what the work raises.
    """
    number = torch.get_num_threads()
    if number == 1:
        yield from map(work, parts)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                # One more than is worked on, so that no thread waits for the reader.
                if len(waiting) > number:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(number)
