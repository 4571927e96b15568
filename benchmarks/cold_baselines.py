"""What the two-tower has to beat where an item is new: content neighbours, and DropoutNet's way.

They see the same training rows and the same columns of the items. Helpers of `ml_1m_cold`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import KNOWN, Ranked, first_unlisted
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions

TEXTS = ("title", "plot")
NAMES = ("genres", "directors", "actors", "certificate")
CONTENT_DIM = 300


class ScoreMatrix:
    """Ranks by a matrix of scores, with what a `Ranker` needs."""

    def __init__(self, train: Interactions, seen: Ragged, scores: NDArray[np.float32]) -> None:
        """Scores are (len(users), len(items))."""
        self.users: EntityTable = train.users
        self.items: EntityTable = train.items
        self.item_counts = train.item_counts()
        self.seen = seen
        self.scores = scores

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """See `Ranker`."""
        scores = self.scores[user_num].copy()
        scores[:, : self.items.first_known] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        for unwanted in (self.seen.take(user_num) if mask_seen else None, excluded):
            if unwanted is not None:
                scores[unwanted.keys(), unwanted.values] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(scores, best, axis=1)
        best = np.where(np.isfinite(values), best, -1)
        path = np.full(len(user_num), KNOWN, dtype=np.int8)
        return Ranked(*first_unlisted(best, values, None, k), path)


def content(items: EntityTable) -> sparse.csr_matrix[Any]:
    """(len(items), V) TF-IDF of title and plot, genres, credits, certificate and decade, rows of
    length 1."""
    frame = items.frame
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), stop_words="english")
    texts = frame.select(pl.concat_str(TEXTS, separator=" ", ignore_nulls=True))
    parts = [words.fit_transform(texts.to_series().fill_null("").to_list())]
    for name in NAMES:
        values = frame[name].to_list()
        listed = [v if isinstance(v, list) else [] if v is None else [v] for v in values]
        tags = TfidfVectorizer(analyzer=lambda row: row, min_df=2)
        parts.append(tags.fit_transform(listed))
    decades = (frame["release_year"] // 10).cast(pl.String).fill_null("none").to_list()
    parts.append(TfidfVectorizer(analyzer=lambda row: [row]).fit_transform(decades))
    stacked = sparse.csr_matrix(sparse.hstack(parts))
    lengths = np.sqrt(np.asarray(stacked.multiply(stacked).sum(axis=1))).ravel()
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(lengths, 1e-12)) @ stacked)


def content_neighbours(train: Interactions, seen: Ragged) -> ScoreMatrix:
    """Similarity of each item to the mean TF-IDF vector of the items in a user's history."""
    vectors = content(train.items)
    shape = (len(train.users), len(train.items))
    positives = sparse.csr_matrix(
        (np.ones(len(train), dtype=np.float32), (train.user_num, train.item_num)), shape=shape
    )
    scores = (positives @ vectors @ vectors.T).toarray().astype(np.float32)
    return ScoreMatrix(train, seen, scores)


def dropout_net(
    train: Interactions,
    seen: Ragged,
    user_vectors: Tensor,
    item_vectors: Tensor,
    *,
    epochs: int = 20,
    dropout: float = 0.5,
) -> ScoreMatrix:
    """DropoutNet's way (Volkovs et al. 2017): a network for each side maps the vectors of a trained
    matrix factorization and the content to new vectors whose products are those of the old ones,
    while the old vectors of a share of users and items are set to zero.

    Args:
        train: the training part.
        seen: to mask.
        user_vectors: (len(users), D) of the factorization.
        item_vectors: (len(items), D); rows of cold items are not read.
        epochs: passes over the training rows, each row with as many drawn pairs.
        dropout: share of items whose vector is set to zero in training.
    """
    torch.manual_seed(0)
    reduced = TruncatedSVD(CONTENT_DIM, random_state=0).fit_transform(content(train.items))
    described = torch.from_numpy(reduced / reduced.std()).float()
    warm = torch.from_numpy(train.items.is_warm(np.arange(len(train.items))))
    latent = torch.where(warm[:, None], item_vectors, 0.0)
    dim = user_vectors.shape[1]
    item_net = _net(dim + CONTENT_DIM, dim)
    user_net = _net(dim, dim)
    optimizer = torch.optim.Adam([*item_net.parameters(), *user_net.parameters()], lr=1e-3)
    users, items = (torch.from_numpy(n.astype(np.int64)) for n in (train.user_num, train.item_num))
    known = warm.nonzero()[:, 0]
    for _ in range(epochs):
        order = torch.randperm(len(users))
        for rows in torch.split(order, 4096):
            drawn = known[torch.randint(len(known), (len(rows),))]
            user, item = users[rows].repeat(2), torch.cat([items[rows], drawn])
            target = (user_vectors[user] * latent[item]).sum(dim=1)
            kept = (torch.rand(len(item)) >= dropout).float()[:, None]
            read = item_net(torch.cat([latent[item] * kept, described[item]], dim=1))
            loss = ((user_net(user_vectors[user]) * read).sum(dim=1) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        vectors = item_net(torch.cat([latent, described], dim=1))
        scores = (user_net(user_vectors) @ vectors.T).numpy()
    return ScoreMatrix(train, seen, scores)


def _net(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 256), nn.Tanh(), nn.Linear(256, outputs))
