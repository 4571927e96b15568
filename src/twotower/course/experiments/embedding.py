"""Step 1: a table of embeddings, which may be too small for its ids."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, ProgressEvent, Watch
from twotower.course.shop import K, dataset
from twotower.course.training import scale_figure, scale_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.errors import EmbeddingRangeError
from twotower.evaluation.metrics import mean, ranking_metrics
from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.retriever.losses.in_batch_softmax import in_batch_softmax

EPOCHS, BATCH_SIZE, LEARNING_RATE, TEMPERATURE = 6, 512, 0.02, 0.5


def embedding(choices: Choices, watch: Watch) -> CompileOutcome:
    """Look up raw integer ids in tables of the chosen size, and train the rows."""
    rows, dim = int(choices["num_embeddings"]), int(choices["embedding_dim"])
    parts = dataset().parts
    users, items = raw_ids(parts.train)
    largest = int(torch.cat([users, raw_ids(parts.validation)[0]]).max())
    generator = torch.Generator().manual_seed(0)
    user_table = EmbeddingTable(rows, dim, column=USER_ID, generator=generator)
    item_table = EmbeddingTable(int(items.max()) + 1, dim, column=ITEM_ID, generator=generator)
    values = {"rows": rows, "largest": largest, "needed": largest + 1}
    steps = 0
    optimizer = torch.optim.Adam(
        [*user_table.parameters(), *item_table.parameters()], lr=LEARNING_RATE
    )
    try:
        for epoch in range(EPOCHS):
            losses = []
            order = torch.randperm(len(users), generator=generator)
            for batch in torch.split(order, BATCH_SIZE):
                watch.check()
                loss = in_batch_softmax(
                    user_table(users[batch]) / TEMPERATURE,
                    item_table(items[batch]),
                    items[batch],
                    torch.ones(len(batch)),
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
                steps += 1
            found = ndcg(user_table, item_table, parts.train, parts.validation)
            watch.report(
                ProgressEvent("training", epoch + 1, EPOCHS, float(np.mean(losses)), found)
            )
    except EmbeddingRangeError as error:
        return CompileOutcome(
            "too_small",
            {**values, "batch": steps + 1},
            error=f"{type(error).__name__}: {error}",
            figures=(rows_figure(rows, largest),),
        )
    unused = rows - largest - 1
    sizes = {
        "unused": unused,
        "dim": dim,
        "user_numbers": user_table.weight.numel(),
        "item_numbers": item_table.weight.numel(),
        "epochs": EPOCHS,
    }
    return CompileOutcome(
        "too_large" if unused else "fits",
        {**values, **sizes, **scale_values(found)},
        node=BuiltNode(
            shapes=(("user ids", "(B,)"), ("table", f"({rows}, {dim})"), ("rows", f"(B, {dim})")),
            params=user_table.weight.numel() + item_table.weight.numel(),
            counted="user table and item table",
        ),
        ndcg=found,
        figures=(rows_figure(rows, largest), scale_figure(found)),
    )


def rows_figure(rows: int, largest: int) -> Figure:
    """The size of the table beside what the ids need."""
    return Figure("Rows of the user table", (("yours", rows), ("needed", largest + 1)))


def raw_ids(part: pl.DataFrame) -> tuple[Tensor, Tensor]:
    """User and item ids (T,) of interactions as integers from 1: "u00000" is 1."""
    user, item = (
        torch.from_numpy(part[column].str.slice(1).cast(pl.Int64).to_numpy() + 1)
        for column in (USER_ID, ITEM_ID)
    )
    return user, item


@torch.no_grad()
def ndcg(
    user_table: EmbeddingTable, item_table: EmbeddingTable, train: pl.DataFrame, part: pl.DataFrame
) -> float:
    """ndcg@10 of the dot products of the rows, without the items of training."""
    users, items = raw_ids(part)
    asked = torch.unique(users)
    scores = user_table(asked) @ item_table.weight.T
    seen_users, seen_items = raw_ids(train)
    place = torch.searchsorted(asked, seen_users).clamp(max=len(asked) - 1)
    here = asked[place] == seen_users
    scores[place[here], seen_items[here]] = -torch.inf
    ranked: NDArray[np.int64] = scores.topk(K, dim=1).indices.numpy()
    keys = torch.searchsorted(asked, users).numpy()
    relevant = Ragged.group(keys, items.numpy(), len(asked))
    return mean(ranking_metrics(ranked, relevant, K)[f"ndcg@{K}"]) or 0.0
