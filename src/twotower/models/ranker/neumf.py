"""GMF, MLP and NeuMF as published: ids alone. Source: He et al. 2017, "Neural collaborative
filtering".

For feature-aware ranking, unknown users and unknown items see `models/ranker/ncf.py`. Here
an id is a raw row of a table, and an id without a row is refused.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.models.layers.embedding import check_range
from twotower.models.ranker.gmf_mlp import Branches, SideParts

DEVIATION = 0.01
"""Embeddings are drawn from N(0, 0.01²), section 4.1 of the paper."""


class NeuMF(nn.Module):
    """logit = h . [p_gmf * q_gmf, MLP([p_mlp, q_mlp])] + b; the score is its sigmoid.

    The GMF and the MLP have embeddings of their own (eq. 12). They lie in one table a side, the
    GMF's first, so that a step reads and updates one row of each side.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        gmf_dim: int = 8,
        mlp_dim: int = 16,
        hidden: tuple[int, ...] = (16, 8),
        dropout: float = 0.0,
        sparse: bool = False,
        seed: int = 0,
    ) -> None:
        """Make the model.

        The paper writes the MLP as a tower whose first width is that of both embeddings,
        concatenated: its 32 -> 16 -> 8 is mlp_dim = 16, hidden = (16, 8).

        Args:
            num_users: rows of the user table.
            num_items: rows of the item table.
            gmf_dim: width of the GMF's embeddings; 0 leaves the GMF out.
            mlp_dim: width of each of the MLP's embeddings.
            hidden: widths of the MLP's layers with ReLU; none leaves the MLP out.
            dropout: after each layer; the paper has none.
            sparse: give the tables row-sparse gradients, for catalogues much larger than a batch.
            seed: of the initial weights.
        """
        super().__init__()
        if not gmf_dim and not hidden:
            raise ValueError("The model must have a GMF or an MLP. Got gmf_dim=0, hidden=().")
        mlp_dim = mlp_dim if hidden else 0
        generator = torch.Generator().manual_seed(seed)
        self.gmf_dim, self.mlp_dim, self.hidden = gmf_dim, mlp_dim, hidden
        self.dropout, self.sparse = dropout, sparse
        with torch.random.fork_rng(devices=[]):
            self.users = nn.Embedding(num_users, gmf_dim + mlp_dim, sparse=sparse)
            self.items = nn.Embedding(num_items, gmf_dim + mlp_dim, sparse=sparse)
            # The first layer over [p, q] is the sum of one over p and one over q.
            first = hidden[0] if hidden else 0
            self.first = nn.Parameter(torch.empty(2, first, mlp_dim))
            self.branches = Branches(gmf_dim, hidden, dropout=dropout, generator=generator)
        with torch.no_grad():
            for table in (self.users, self.items):
                table.weight.normal_(0.0, DEVIATION, generator=generator)
            bound = (6.0 / (2 * mlp_dim + first)) ** 0.5 if hidden else 0.0  # Glorot
            self.first.uniform_(-bound, bound, generator=generator)

    @staticmethod
    def gmf(
        num_users: int, num_items: int, dim: int = 8, *, sparse: bool = False, seed: int = 0
    ) -> NeuMF:
        """Generalised matrix factorization alone (eq. 9)."""
        return NeuMF(num_users, num_items, gmf_dim=dim, hidden=(), sparse=sparse, seed=seed)

    @staticmethod
    def mlp(
        num_users: int,
        num_items: int,
        dim: int = 16,
        hidden: tuple[int, ...] = (16, 8),
        *,
        dropout: float = 0.0,
        sparse: bool = False,
        seed: int = 0,
    ) -> NeuMF:
        """The multi-layer perceptron alone (eq. 10)."""
        return NeuMF(
            num_users,
            num_items,
            gmf_dim=0,
            mlp_dim=dim,
            hidden=hidden,
            dropout=dropout,
            sparse=sparse,
            seed=seed,
        )

    @staticmethod
    def pretrained(gmf: NeuMF, mlp: NeuMF, *, alpha: float = 0.5) -> NeuMF:
        """NeuMF that starts from a trained GMF and a trained MLP (section 3.4.1, eq. 13).

        The embeddings and hidden layers are theirs, h = [alpha h_gmf, (1 - alpha) h_mlp], and so is
        the bias, so that the first logit is alpha times the GMF's and 1 - alpha times the MLP's.

        Raises:
            ValueError: the models are not a GMF and an MLP of the same users and items.
        """
        sizes = [(model.users.num_embeddings, model.items.num_embeddings) for model in (gmf, mlp)]
        if gmf.hidden or mlp.gmf_dim or sizes[0] != sizes[1]:
            raise ValueError(
                "The 'gmf' and 'mlp' parameters must be a GMF and an MLP of the same users and "
                f"items. Got tables of {sizes[0]} and {sizes[1]} rows."
            )
        made = NeuMF(
            *sizes[0],
            gmf_dim=gmf.gmf_dim,
            mlp_dim=mlp.mlp_dim,
            hidden=mlp.hidden,
            dropout=mlp.dropout,
            sparse=gmf.sparse,
        )
        state = {**mlp.state_dict()}
        for name in ("users.weight", "items.weight"):
            state[name] = torch.cat([gmf.state_dict()[name], state[name]], dim=1)
        for name, dim in (("branches.output.weight", 1), ("branches.output.bias", 0)):
            parts = alpha * gmf.state_dict()[name], (1 - alpha) * state[name]
            state[name] = torch.cat(parts, dim=dim) if dim else parts[0] + parts[1]
        made.load_state_dict(state)
        return made

    def forward(self, user_num: Tensor, item_num: Tensor) -> Tensor:
        """Users (Q,), each with candidates (Q, C), to logits (Q, C).

        Raises:
            EmbeddingRangeError: a user or an item has no row.
        """
        self.check(user_num, item_num)
        return self.logits(user_num, item_num)

    def check(self, user_num: Tensor, item_num: Tensor) -> None:
        """Refuse users and items (...) that have no row.

        Raises:
            EmbeddingRangeError: one has none.
        """
        check_range(user_num, self.users.num_embeddings, "user_num")
        check_range(item_num, self.items.num_embeddings, "item_num")

    def logits(self, user_num: Tensor, item_num: Tensor) -> Tensor:
        """The same as `forward` for nums that were checked, for which a GPU has to be waited for.

        Where there are more of them than users or items, each of those is encoded once.
        """
        users, items = self._parts(self.users, user_num, 0), self._parts(self.items, item_num, 1)
        return self.branches.of_parts(users, items)

    def _parts(self, table: nn.Embedding, nums: Tensor, side: int) -> SideParts:
        """Nums (...) of a side to (..., G) and (..., H)."""
        if nums.numel() < table.num_embeddings:
            return self._encode(table(nums), side)
        return SideParts(*(F.embedding(nums, part) for part in self._encode(table.weight, side)))

    def _encode(self, rows: Tensor, side: int) -> SideParts:
        """Rows (..., G + M) of the table of a side to (..., G) and (..., H)."""
        gmf, mlp = rows[..., : self.gmf_dim], rows[..., self.gmf_dim :]
        first = mlp @ self.first[side].T
        return SideParts(gmf.to(first.dtype), first)
