"""What stands beside the towers, as a bundle keeps it: item neighbours, popularity, and weights.

The weights are chosen on validation rows (`workflow/training/fit_blend.py`), so that what is served
is no worse there than popularity or a linear model of items. `blended_retrieval.py` asks them.
Shapes: N trained items, R item nums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from twotower.models.blend import Blend
from twotower.models.content_neighbours import ContentLinks
from twotower.models.item_neighbours import ItemNeighbours

Floats = NDArray[np.float32]

TOWERS, NEIGHBOURS, POPULARITY = "towers", "neighbours", "popularity"

FILE = "blend.json"
RARE = 1e-3
"""Added to recent popularity before the logarithm, relative to the most popular item."""


def rare_count(counts: NDArray[np.floating], half_life_days: float | None) -> float:
    """What is added to what popularity counts (R,) before the logarithm: an interaction, or with a
    half-life, where an interaction counts less from day to day, a share of the largest count."""
    return 1.0 if half_life_days is None else RARE * max(float(counts.max(initial=0.0)), 1e-9)


@dataclass(frozen=True)
class Weighing:
    """The weight of each source.

    Attributes:
        blend: the weights of `towers`, `neighbours` and `popularity`.
        new_level: the score of an item that training never saw, which has neither neighbours nor
            popularity, where all that follows is 0.
        new_slope: for each 1 of what the towers say of such an item.
        new_content: for each 1 of what content neighbours say of it.
        new_activity: for each 1 of `Queries.activity`, the logarithm of how much the user has
            taken: what neighbours say of the other items grows with it.
    """

    blend: Blend
    new_level: float = 0.0
    new_slope: float = 1.0
    new_content: float = 0.0
    new_activity: float = 0.0

    def score_of_new(self, towers: Floats, content: Floats, activity: Floats) -> Floats:
        """(Q, K) the scores of new items by what the towers and content neighbours say (Q, K), and
        by the activity of the users (Q,)."""
        level = self.new_level + self.new_activity * activity[:, None]
        scores: Floats = level + self.new_slope * towers + self.new_content * content
        return scores

    @property
    def of_new(self) -> tuple[float, float, float, float]:
        """The numbers that the scores of new items are made of."""
        return self.new_level, self.new_slope, self.new_content, self.new_activity

    def mean(self, other: Weighing) -> Weighing:
        """Halfway between two."""
        names = {**self.blend.weights, **other.blend.weights}
        return Weighing(
            Blend({name: (self.blend[name] + other.blend[name]) / 2 for name in names}),
            *((one + more) / 2 for one, more in zip(self.of_new, other.of_new, strict=True)),
        )

    def raised(self, level: float) -> Weighing:
        """The same with more, or less, for new items."""
        return replace(self, new_level=self.new_level + level)


@dataclass(frozen=True)
class CandidateBlend:
    """What stands beside the towers, and the weight of each.

    Attributes:
        usual: the weights for users who have taken something, and whose id the towers know, if they
            read ids.
        unknown_users: those for users who have taken something, but whose id the towers do not
            know.
        new_users: those for other users, of whom only features and context are known.
        popularity: (R,) what popularity counts of each item.
        rare: added before the logarithm, so that items that nobody has taken have one.
        neighbours: a linear model of items; None without one.
        content: new items and the trained ones that are like them; None where content says nothing.
        content_unit: the similarity that sums are measured in.
        report: the choices and figures behind it, as JSON; see
            `workflow/training/fit_blend.py`.
    """

    usual: Weighing
    unknown_users: Weighing
    new_users: Weighing
    popularity: NDArray[np.float64]
    rare: float
    neighbours: ItemNeighbours | None
    report: Mapping[str, Any]
    content: ContentLinks | None = None
    content_unit: float = 1.0

    @property
    def weighings(self) -> tuple[Weighing, Weighing, Weighing]:
        """Those that validation chooses."""
        return self.usual, self.unknown_users, self.new_users

    def weighed(self, weighings: Iterable[Weighing]) -> CandidateBlend:
        """The same sources with other weights, in the order of `weighings`."""
        usual, unknown_users, new_users = weighings
        return replace(self, usual=usual, unknown_users=unknown_users, new_users=new_users)

    @cached_property
    def by_kind(self) -> tuple[Weighing, Weighing, Weighing, Weighing]:
        """Those of all kinds of users. The fourth kind are known users who have taken something
        that the towers have not learned from and read no history of: halfway to unknown ones."""
        return *self.weighings, self.usual.mean(self.unknown_users)

    @property
    def reads_user_items(self) -> bool:
        """Whether it reads the items of a user, so that a new event changes its answer."""
        return self.reads_neighbours or self.reads_content

    @property
    def reads_neighbours(self) -> bool:
        """Whether item neighbours have a say."""
        weights = (one.blend[NEIGHBOURS] for one in (self.usual, self.unknown_users))
        return self.neighbours is not None and any(weight > 0 for weight in weights)

    @property
    def reads_content(self) -> bool:
        """Whether content neighbours have a say about new items."""
        return any(one.new_content > 0 for one in (self.usual, self.unknown_users))

    @property
    def sentence(self) -> str:
        """What the answers consist of, such as `The answers blend the towers (64%) with EASE
        (36%).`"""
        shares, days = self.report["shares"], self.report["half_life_days"]
        names = {
            TOWERS: "the towers",
            NEIGHBOURS: {"ease": "EASE", "item_knn": "item-kNN"}.get(self.report["linear"], ""),
            POPULARITY: "popularity" if days is None else f"popularity (half-life {days:g} days)",
        }
        first, *others = (
            f"{name} ({100 * shares.get(source, 0.0):.0f}%)"
            for source, name in names.items()
            if source == TOWERS or shares.get(source, 0.0) >= 0.005
        )
        if not others:
            return "The answers are those of the towers: no baseline adds enough on validation."
        return f"The answers blend {first} with {' and '.join(others)}."

    def said_by_popularity(self, counts: NDArray[np.floating]) -> NDArray[np.float32]:
        """The logarithm of what popularity counts."""
        said: NDArray[np.float32] = np.log(counts + self.rare).astype(np.float32)
        return said

    def with_more(self, number: int) -> CandidateBlend:
        """The same with `number` more item nums at the end, which nobody has taken."""
        return replace(self, popularity=np.pad(self.popularity, (0, number)))

    def with_links(self, links: ContentLinks) -> CandidateBlend:
        """The same with the content neighbours of items behind all that have some."""
        known = self.content
        return replace(self, content=links if known is None else known.joined([known, links]))

    def check(self, num_items: int, trained: range) -> None:
        """Refuse parts that do not fit a bundle's items.

        Args:
            num_items: R of the bundle.
            trained: the item nums that training saw.

        Raises:
            ValueError: names the first part.
        """
        near, content = self.neighbours, self.content
        fits = {
            "popularity": self.popularity.shape == (num_items,)
            and bool(np.isfinite(self.popularity).all() and (self.popularity >= 0).all()),
            "weights": all(
                np.isfinite([*one.blend.weights.values(), *one.of_new]).all()
                for one in self.weighings
            ),
            "neighbours": near is None or near.fits(trained),
            "content": content is None or content.fits(num_items, trained),
            "rare": self.rare > 0,
            "content_unit": self.content_unit > 0,
        }
        for part, is_right in fits.items():
            if not is_right:
                raise ValueError(f"blend: {part} does not fit the other parts")

    def save(self, folder: Path) -> None:
        """Write `blend.json` and `blend_*.npy` into a folder."""
        near = self.neighbours
        document = {
            "usual": asdict(self.usual),
            "unknown_users": asdict(self.unknown_users),
            "new_users": asdict(self.new_users),
            "rare": self.rare,
            "neighbours": None if near is None else {"first": near.first, "unit": near.unit},
            "content": self.content is not None,
            "content_unit": self.content_unit,
            "report": dict(self.report),
        }
        (folder / FILE).write_text(json.dumps(document), encoding="utf-8")
        np.save(folder / "blend_popularity.npy", self.popularity)
        if near is not None:
            np.save(folder / "blend_starts.npy", near.weights.indptr)
            np.save(folder / "blend_items.npy", near.weights.indices)
            np.save(folder / "blend_weights.npy", near.weights.data)
        if self.content is not None:
            for part, values in self.content._asdict().items():
                np.save(folder / f"blend_content_{part}.npy", values)

    @staticmethod
    def load(folder: Path) -> CandidateBlend:
        """Read what `save` wrote, memory-mapped."""
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))

        def array(name: str) -> NDArray[Any]:
            file = folder / f"blend_{name}.npy"
            # A plain view: each look into a `memmap` itself costs twice as much.
            return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))

        neighbours = None
        if document["neighbours"] is not None:
            starts = array("starts")
            size = len(starts) - 1
            weights = sparse.csr_array(
                (array("weights"), array("items"), starts), shape=(size, size), copy=False
            )
            weights.check_format()
            neighbours = ItemNeighbours(weights, **document["neighbours"])

        def weighing(name: str) -> Weighing:
            told = document[name]
            return Weighing(Blend(**told.pop("blend")), **told)

        content = None
        if document.get("content"):
            content = ContentLinks(*(array(f"content_{part}") for part in ContentLinks._fields))

        return CandidateBlend(
            weighing("usual"),
            weighing("unknown_users"),
            weighing("new_users"),
            array("popularity"),
            float(document["rare"]),
            neighbours,
            document["report"],
            content,
            float(document.get("content_unit", 1.0)),
        )
