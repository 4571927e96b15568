"""The neural ranker as a stage of serving: items encoded beforehand, the query side run live."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.top_k import places_of
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.features.schema import Schema
from twotower.index import SearchResult
from twotower.models.blend import Blend
from twotower.models.ranker.calibration import Calibration
from twotower.models.ranker.impute_scores import among_others, filled
from twotower.models.ranker.item_item_weights import ItemItemWeights
from twotower.models.ranker.ncf import ItemStates, NeuralCF, mean_of_positives
from twotower.serving.bundle.queries import Floats, Queries
from twotower.serving.bundle.query_encoder import CHUNK, filled_context, no_history

ALONE = Blend({"own": 1.0})
"""The ranker's logit and nothing else."""
PAIRS = 1 << 17
"""Pairs that are scored at once, where there are many queries."""


@dataclass(frozen=True)
class NeuralRanker:
    """A trained `NeuralCF` with all that it needs to rank what the towers retrieve.

    Its scores are probabilities. Of what, `workflow/training/fit_ranker.py` says.

    Attributes:
        model: in eval mode.
        schema: of its features.
        items: states of all rows of the item table.
        neighbours: item-to-item weights; None where the config asks for none.
        blend: the weights of its own logit (`own`), of the score of what was retrieved
            (`retriever`) and of that by the user's positives (`neighbours`, see
            `models/ranker/item_item_weights.py`).
        calibration: from the sum to a probability.
        overlay_nums: ascending, the item nums whose states are the last rows; see `overlaid`.
    """

    model: NeuralCF
    schema: Schema
    items: ItemStates
    neighbours: ItemItemWeights | None = None
    blend: Blend = ALONE
    calibration: Calibration = field(default_factory=Calibration)
    overlay_nums: NDArray[np.int64] | None = None

    @property
    def num_candidates(self) -> int:
        """How many candidates it wants to be given."""
        return self.model.config.num_candidates

    @property
    def reads_user_items(self) -> bool:
        """Whether it reads the items of a user, so that a new event changes its answer."""
        return self.model.taken is not None or self.neighbours is not None

    @property
    def end_warm(self) -> int:
        """Item nums from here on are of items that training never saw."""
        vocabulary = self.schema.vocabulary("item")
        return vocabulary.first_known + len(vocabulary)

    @staticmethod
    def build(
        model: NeuralCF, items: EntityTable, neighbours: ItemItemWeights | None = None
    ) -> NeuralRanker:
        """Encode all items; neither blended nor calibrated yet."""
        model.eval()
        states = encode_items(model, items.features, len(items))
        return NeuralRanker(model, items.schema, states, neighbours)

    def with_more(self, features: Features, number: int) -> NeuralRanker:
        """The same ranker with `number` more items behind the same rows."""
        more = encode_items(self.model, features, number)
        joined = ItemStates(*(torch.cat(pair) for pair in zip(self.items, more, strict=True)))
        near = None if self.neighbours is None else self.neighbours.with_more(number)
        return replace(self, items=joined, neighbours=near)

    def overlaid(self, nums: NDArray[np.int64], features: Features) -> NeuralRanker:
        """The same ranker under an overlay: items `nums` (A,), ascending, are ranked by these
        features, name -> (A, ...). What training learned of an item's interactions stays where its
        features were changed."""
        return replace(self.with_more(features, len(nums)), overlay_nums=nums)

    def score(self, queries: Queries, candidates: SearchResult) -> Floats:
        """(Q, K) probabilities; see `RankingStage`."""
        return self.calibration.probabilities(self.blend.mix(self.said(queries, candidates)))

    def _rows(self, nums: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of `items` for item nums of any shape."""
        if self.overlay_nums is None:
            return nums.astype(np.int64, copy=False)
        places = places_of(self.overlay_nums, nums.ravel()).reshape(nums.shape)
        first = len(self.items.states) - len(self.overlay_nums)
        return np.where(places >= 0, first + places, nums).astype(np.int64)

    def _learned(self, nums: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows for item nums of any shape, by what training learned of their interactions: those of
        the bundle's items stay theirs."""
        if self.overlay_nums is None:
            return nums.astype(np.int64, copy=False)
        first = len(self.items.states) - len(self.overlay_nums)
        return np.where(nums < first, nums, self._rows(nums))

    def said(self, queries: Queries, candidates: SearchResult) -> dict[str, Floats]:
        """What is said of each candidate, (Q, K) each, by the names of the blend's weights.

        How items that training never saw stand among the others is the retriever's to say, which
        was taught how much of them to show: what the ranker says only orders them among themselves.
        """
        nums = self._learned(candidates.item_nums)
        retrieved = np.where(np.isfinite(candidates.scores), candidates.scores, 0.0)
        retrieved = retrieved.astype(np.float32)
        own = self.logits(queries, candidates.item_nums)
        cold = nums >= self.end_warm
        if cold.any():
            own = among_others(own, (nums >= 0) & ~cold, cold, retrieved)
        said: dict[str, Floats] = {"own": own, "retriever": retrieved}
        if self.neighbours is not None:
            user_items = queries.user_items or Ragged.empty(len(retrieved))
            if self.overlay_nums is not None:
                user_items = Ragged(
                    user_items.offsets, self._learned(user_items.values).astype(np.int32)
                )
            near, known = self.neighbours.score(user_items, nums), self.neighbours.knows(nums)
            if not (known | (nums < 0)).all():
                near = filled(near, known & (nums >= 0), retrieved)
            said["neighbours"] = near
        return said

    @torch.no_grad()
    def logits(self, queries: Queries, item_nums: NDArray[np.int64]) -> Floats:
        """(Q, K) of the model alone; any number where there is no item."""
        states = self.query_states(queries)
        nums = torch.from_numpy(self._rows(np.maximum(item_nums, 0)))
        block = max(1, PAIRS // max(nums.shape[1], 1))
        parts = [
            self.model(of_queries, F.embedding(chosen, self.items.states))
            for of_queries, chosen in zip(
                torch.split(states, block), torch.split(nums, block), strict=True
            )
        ]
        logits: Floats = torch.cat(parts).numpy()
        return logits

    @torch.no_grad()
    def query_states(self, queries: Queries) -> Tensor:
        """(Q, S)."""
        rows = queries.number
        context = filled_context(self.schema, queries.context, rows)
        mean = read = None
        if self.model.taken is not None:
            mean = self._mean_of_items(queries.user_items or Ragged.empty(rows))
        if self.model.history is not None:
            told = no_history(rows) if queries.history is None else queries.history
            told_rows = torch.from_numpy(self._rows(told.item_num.numpy()))
            given = F.embedding(told_rows, self.items.given)
            read = self.model.history(given, told, newest=True)
        users = self.model.user_states(queries.users, rows)
        return self.model.query_states(users, context, mean, read)

    def _mean_of_items(self, user_items: Ragged) -> Tensor:
        inside = user_items.values >= 0
        if not inside.all():
            user_items = Ragged.group(
                user_items.keys()[inside], user_items.values[inside], len(user_items)
            )
        nums = torch.from_numpy(self._rows(user_items.values))
        starts = torch.from_numpy(user_items.offsets[:-1])
        total = F.embedding_bag(nums, self.items.given, starts, mode="sum")
        return mean_of_positives(total, torch.from_numpy(user_items.lengths))

    # --- files ---

    def save(self, folder: Path) -> None:
        """Write `ranker.safetensors`, `ranker.json` and the items' states into a folder."""
        weights = {name: t.contiguous() for name, t in self.model.state_dict().items()}
        save_file(weights, folder / "ranker.safetensors")
        fitted = {"blend": dict(self.blend.weights), "calibration": asdict(self.calibration)}
        (folder / "ranker.json").write_text(json.dumps(fitted), encoding="utf-8")
        for name, part in zip(ItemStates._fields, self.items, strict=True):
            np.save(folder / f"ranker_{name}.npy", part.numpy())
        if self.neighbours is not None:
            np.save(folder / "ranker_neighbours.npy", self.neighbours.nums)
            np.save(folder / "ranker_weights.npy", self.neighbours.weights)

    @staticmethod
    def load(folder: Path, model: NeuralCF, schema: Schema) -> NeuralRanker:
        """Read what `save` wrote but for the weights, which `model` has."""
        fitted = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        calibration: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fitted["calibration"].items()
        }

        def array(name: str) -> NDArray[Any]:
            # Copy-on-write, as torch warns of memory that cannot be written.
            file = folder / f"ranker_{name}.npy"
            found: NDArray[Any] = np.load(file, mmap_mode="c", allow_pickle=False)
            return found

        has_neighbours = (folder / "ranker_neighbours.npy").exists()
        return NeuralRanker(
            model,
            schema,
            ItemStates(*(torch.from_numpy(array(name)) for name in ItemStates._fields)),
            ItemItemWeights(array("neighbours"), array("weights")) if has_neighbours else None,
            Blend(fitted["blend"]),
            Calibration(**calibration),
        )


@torch.no_grad()
def encode_items(model: NeuralCF, features: Features, number: int) -> ItemStates:
    """The states of `number` rows of items, on the CPU."""
    parts = []
    for rows in torch.split(torch.arange(number), CHUNK):
        chosen = {
            name: column.index_select(0, rows).to(model.device) for name, column in features.items()
        }
        parts.append(ItemStates(*(part.cpu() for part in model.item_states(chosen, len(rows)))))
    return ItemStates(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
