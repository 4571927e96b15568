"""Recommendations for every user, streamed into a Parquet file; by this machine or by a cluster."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl
from rich.console import Console
from rich.progress import Progress

from twotower.atomic import write_text
from twotower.errors import DataError, explain
from twotower.serving.answer.fallback import CHUNK
from twotower.serving.answer.recommender import Recommender
from twotower.serving.live.store_recommender import StoreRecommender
from twotower.workflow.cluster.connection import connect
from twotower.workflow.cluster.recommendations import bundle_hosts, calls_of, frames_of_all
from twotower.workflow.table_file import table_file

USERS_OF_A_PART: Final = 250_000
"""After about so many users a part is kept; an interrupted run loses at most one."""
ASKED: Final = "asked.json"


def write_recommendations(
    recommender: Recommender | StoreRecommender,
    file: Path,
    *,
    k: int,
    diversity: float = 0.0,
    progress: Console,
    ray: str | None = None,
    bundle: Path | None = None,
) -> int:
    """Write `user_id, rank, item_id, score, path` for all users; memory does not grow with them.

    The file is written aside and renamed, so that a reader never sees half of it. For more users
    than a part has, finished parts are kept in `FILE.parts`: after an interruption the same call
    goes on behind them. With an event store, or a recommender that is not of a bundle, it begins
    anew, as there is no telling whether the answers would be the same.

    Args:
        recommender: answers.
        file: the Parquet file.
        k: items for each user.
        diversity: as in `recommend`.
        progress: shows it.
        ray: the address of a Ray cluster whose nodes answer; see `connect`. The rows are the same.
        bundle: for a cluster: what the recommender was loaded from.

    Returns:
        The number of rows written.

    Raises:
        DataError: the file cannot be written.
        ClusterError: the cluster cannot be reached, or its processes died again and again.
    """
    parts = FinishedParts(file, recommender, k, diversity)
    rows = 0
    with Progress(console=progress, transient=True) as bar:
        task = bar.add_task("recommending", total=recommender.served.num_users)
        bar.update(task, advance=parts.num_users)
        kept: list[pl.DataFrame] = []
        with table_file(file) as write:
            for frame in parts.frames():
                write(frame)
                rows += len(frame)
            with frames(recommender, k, diversity, parts.num_users, ray, bundle) as found:
                for done, frame in found:
                    write(frame)
                    rows += len(frame)
                    bar.update(task, completed=done)
                    kept.append(frame)
                    if done - parts.num_users >= USERS_OF_A_PART:
                        parts.keep(kept, done)
                        kept = []
    parts.remove()
    return rows


@contextmanager
def frames(
    recommender: Recommender | StoreRecommender,
    k: int,
    diversity: float,
    first: int,
    ray: str | None,
    bundle: Path | None,
) -> Iterator[Iterator[tuple[int, pl.DataFrame]]]:
    """The rows for all users but the first `first`: pairs of the number of users that are done, and
    the rows of the next ones."""
    total = recommender.served.num_users
    if ray is None:
        found = recommender.recommend_all(k, diversity=diversity, first=first)
        yield ((min(first + n * CHUNK, total), frame) for n, frame in enumerate(found, start=1))
        return
    assert bundle is not None, "a cluster reads the bundle"
    overlay = recommender.overlay if isinstance(recommender, StoreRecommender) else None
    with connect(ray) as cluster, bundle_hosts(cluster, bundle, overlay) as hosts:
        yield frames_of_all(hosts, calls_of(recommender, k, diversity, first))


class FinishedParts:
    """Finished parts of an answer, in `FILE.parts`; each is named by the users that are done with
    it."""

    def __init__(
        self, file: Path, recommender: Recommender | StoreRecommender, k: int, diversity: float
    ) -> None:
        """Find the parts of the same request, and remove those of another."""
        self.folder = file.with_name(f"{file.name}.parts")
        self.asked: str | None = None
        manifest = recommender.served.manifest
        if isinstance(recommender, Recommender) and manifest:
            request = {"bundle": manifest, "k": k, "diversity": diversity}
            text = json.dumps(request, sort_keys=True, default=str)
            self.asked = hashlib.sha256(text.encode()).hexdigest()
        try:
            was_asked = (self.folder / ASKED).read_text(encoding="utf-8")
        except OSError:
            was_asked = None
        if self.folder.is_dir() and was_asked != self.asked:
            self.remove()

    @property
    def files(self) -> list[Path]:
        """The parts, in the order of their users."""
        return sorted(self.folder.glob("*.parquet"), key=lambda file: int(file.stem))

    @property
    def num_users(self) -> int:
        """Users that are done."""
        return max((int(file.stem) for file in self.files), default=0)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows that are kept, a part at a time."""
        yield from map(pl.read_parquet, self.files)

    def keep(self, frames: list[pl.DataFrame], done: int) -> None:
        """Keep the rows of the next part, where that makes sense."""
        if self.asked is None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            write_text(self.folder / ASKED, self.asked)
        except OSError as error:
            raise DataError(
                explain(f"cannot be written: {error}", file=self.folder, fix="make room")
            ) from error
        with table_file(self.folder / f"{done}.parquet") as write:
            write(pl.concat(frames))

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
