"""Trace one real batch through the served model, with a forward hook on every module.

The hooks record only the tracing thread, so requests answered meanwhile are not recorded. They are
removed when the trace ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.dataset.entities import Features, encode_rows
from twotower.index import SearchResult
from twotower.models.retriever.towers.base import Tower
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.blended_retrieval import BlendedRetrieval
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.queries import Floats, Queries
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.architecture.serving_nodes import num_new, reads_popularity

BATCH: Final = 32
"""Number of users and of items in the batch."""
LOCK = threading.Lock()
"""One trace at a time."""


@dataclass(frozen=True)
class Step:
    """A module, or a step between modules, that was executed.

    Attributes:
        module: path in the model; `PATH:input` for the input of a module.
        kind: class of the module.
        inputs, output: shapes.
        milliseconds: duration, including submodules.
    """

    module: str
    kind: str
    inputs: list[list[int]]
    output: list[int]
    milliseconds: float


def trace(served: ServedModel, *, batch: int = BATCH, k: int = 10) -> dict[str, Any]:
    """Send a batch of users and one of items through the towers, the index and what stands beside
    them.

    Args:
        served: may answer requests meanwhile; it is not modified.
        batch: B, maximum number of users and of items.
        k: number of items to retrieve.
    """
    user_num, item_num = some(served, batch)
    # These rows alone: encoding a whole catalogue may take minutes.
    items = encode_rows(served.schema, "item", served.items.frame[item_num])
    modules: dict[str, nn.Module] = {"": served.towers}
    ranker = served.ranker
    if isinstance(ranked := getattr(ranker, "model", None), nn.Module):
        modules["ranker"] = ranked
    with LOCK, recorded(modules) as steps:
        start = time.perf_counter()
        vectors = timed(steps, "query_vectors", lambda: served.query_vectors(user_num))
        encode_items(served.towers, items, steps)
        wide = k if ranker is None else max(k, ranker.num_candidates)
        start_search = time.perf_counter()
        found = served.index.search(vectors, wide)
        spent = 1000 * (time.perf_counter() - start_search)
        steps.append(
            Step("index", "step", [list(vectors.shape)], list(found.item_nums.shape), spent)
        )
        queries = served.queries_of(user_num, {})
        if served.blend is not None:
            found = blended(served, served.blend, queries, vectors, wide, steps)
        if ranker is not None:
            timed(steps, "ranker", lambda: ranker.score(queries, found))
        total = time.perf_counter() - start
    shape = [len(user_num), min(k, found.item_nums.shape[1])]
    steps.append(Step("answer", "answer", [list(found.item_nums.shape)], shape, 0.0))
    return {
        "batch": len(user_num),
        "k": k,
        "milliseconds": 1000 * total,
        "users": served.users.ids.gather(user_num).to_list(),
        "steps": [asdict(step) for step in steps],
    }


def blended(
    served: ServedModel,
    blend: CandidateBlend,
    queries: Queries,
    vectors: Floats,
    wide: int,
    steps: list[Step],
) -> SearchResult:
    """The candidates of all sources by their weighted sum, with a step for each source."""
    near, items = blend.neighbours, queries.user_items
    if near is not None and items is not None and blend.reads_neighbours:
        start = time.perf_counter()
        near.scores(items)
        spent = 1000 * (time.perf_counter() - start)
        steps.append(Step("neighbours", "step", [], [len(items), near.weights.shape[1]], spent))
    links = blend.content if blend.reads_content else None
    content = None if links is None else links.weights(len(served.items), blend.content_unit)
    if blend.reads_content:
        start = time.perf_counter()
        if content is not None and items is not None:
            content.scores(items)
        spent = 1000 * (time.perf_counter() - start)
        steps.append(Step("content", "step", [], [queries.number, num_new(blend)], spent))
    if reads_popularity(blend):
        steps.append(Step("popularity", "step", [], [len(blend.popularity)], 0.0))
    layers = [] if content is None else [content]
    retrieval = BlendedRetrieval(blend, served.index, served.popularity, content=layers)
    start = time.perf_counter()
    found = retrieval.best(queries, vectors, wide)
    spent = 1000 * (time.perf_counter() - start)
    steps.append(Step("blend", "step", [], list(found.item_nums.shape), spent))
    return SearchResult(found.scores, found.item_nums)


@torch.no_grad()
def encode_items(model: TwoTower, items: Features, steps: list[Step]) -> None:
    """Item vectors (B, D), and the vectors that the same items would get as cold items."""
    timed(steps, "item_vectors", lambda: model.item_vectors(items).cpu().numpy())
    if model.cold_tower is not None:
        timed(steps, "cold_vectors", lambda: model.cold_vectors(items).cpu().numpy())


def some(served: ServedModel, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A fixed random sample of user nums (B,) and item nums (B,)."""
    rng = np.random.default_rng(0)
    users, index = served.users, served.index
    user_num = np.arange(users.first_known, len(users))
    return (
        rng.permutation(user_num)[:batch].astype(np.int64),
        rng.permutation(index.item_nums)[:batch].astype(np.int64),
    )


def timed(steps: list[Step], name: str, run: Any) -> NDArray[Any]:
    """Run a function and record it as a step; returns its result."""
    start = time.perf_counter()
    result: NDArray[Any] = run()
    spent = 1000 * (time.perf_counter() - start)
    steps.append(Step(name, "step", [], list(result.shape), spent))
    return result


@contextmanager
def recorded(models: Mapping[str, nn.Module]) -> Iterator[list[Step]]:
    """Record all modules that this thread runs, in the order in which they finish.

    Args:
        models: prefix of the module paths -> model.
    """
    steps: list[Step] = []
    me = threading.get_ident()
    started: dict[str, float] = {}
    handles = []

    def before(path: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if threading.get_ident() != me:
                return
            if path.endswith(".mlp"):
                inputs = shapes(arguments)
                steps.append(Step(f"{path}:input", "concat", [], inputs[0], 0.0))
            started[path] = time.perf_counter()

        return hook

    def after(path: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            if threading.get_ident() != me:
                return
            spent = 1000 * (time.perf_counter() - started[path])
            inputs = [] if isinstance(module, Tower) else shapes(arguments)
            out = shapes(output)
            kind = type(module).__name__
            steps.append(Step(path, kind, inputs, out[0] if out else [], spent))

        return hook

    try:
        for prefix, model in models.items():
            for path, module in model.named_modules(prefix=prefix):
                if path != prefix:
                    handles.append(module.register_forward_pre_hook(before(path)))
                    handles.append(module.register_forward_hook(after(path)))
        yield steps
    finally:
        for handle in handles:
            handle.remove()


def shapes(value: Any) -> list[list[int]]:
    """The shapes of all tensors in a nested input or output, those of lists as if padded."""
    if isinstance(value, Tensor | RaggedTensor):
        return [list(value.shape)]
    if isinstance(value, dict):
        return [shape for part in value.values() for shape in shapes(part)]
    if isinstance(value, tuple | list):
        return [shape for part in value for shape in shapes(part)]
    return []
