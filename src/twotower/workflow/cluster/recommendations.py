"""Recommendations for all users from several machines: each holds the bundle, and answers some
users at a time. What an event store knows is read by the command and sent along."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from twotower.atomic import MANIFEST
from twotower.errors import BundleError, explain
from twotower.serving.answer.fallback import CHUNK
from twotower.serving.answer.overlaid_model import OverlaidModel, PreparedModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.live.store_recommender import StoreRecommender, UserBatch
from twotower.serving.overlay.item_overlay import Overlay
from twotower.workflow.cluster.connection import Cluster, import_ray
from twotower.workflow.cluster.hosts import Asked, Hosts

CHUNKS_OF_A_CALL: Final = 8
"""Some 33,000 users a call: seconds of work, and a few MB of answers."""
CALLS_AHEAD: Final = 2
"""Calls that wait at each process, so that none has to wait for this one."""
PIECE: Final = 64 << 20
"""Bytes of a file that are sent at once."""

Files = dict[str, list[Any]]
"""Relative path of a file of a bundle -> its pieces in the object store of the cluster."""


class BundleHost:
    """A bundle on a node, and its answers."""

    def __init__(
        self, path: str, manifest: str, files: Files | None, overlay: Overlay | None
    ) -> None:
        """Load it from the same path as elsewhere, if that leads to the same bundle, or from a copy
        in this node's folder for temporary files.

        Args:
            path: of the bundle.
            manifest: the digest of its manifest, which has the checksums of all other files.
            files: what to copy; None where the path leads to it.
            overlay: the items over the bundle's, of an event store.
        """
        folder = Path(path)
        if files is not None:
            folder = Path(tempfile.gettempdir()) / f"twotower-bundle-{manifest}"
            if digest_of_manifest(folder) != manifest:
                copy_files(folder, files)
        if digest_of_manifest(folder) != manifest:
            raise BundleError(explain("is not the bundle that was asked for any more", file=folder))
        self.recommender = Recommender.load(folder)
        if overlay is not None:
            self.model = OverlaidModel(PreparedModel(self.recommender.served), overlay)

    def answers(self, first: int, stop: int, k: int, diversity: float) -> pl.DataFrame:
        """The rows for a range of users."""
        found = self.recommender.recommend_all(k, diversity=diversity, first=first, stop=stop)
        return pl.concat(list(found))

    def answers_of(self, batch: UserBatch, k: int, diversity: float) -> pl.DataFrame:
        """The rows for some users, by what an event store knows of them."""
        return batch.answers(self.model, k, diversity)


def digest_of_manifest(folder: Path) -> str | None:
    """What tells a bundle from all others; None where there is none."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None


def copy_files(folder: Path, files: Files) -> None:
    """A folder with the files that the object store has; another process of the node may make the
    same one at the same time."""
    ray = import_ray()
    whole = Path(tempfile.mkdtemp(prefix="twotower-"))
    for name, pieces in files.items():
        file = whole / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for piece in pieces:
                stream.write(ray.get(piece))
    if folder.exists() and not (folder / MANIFEST).exists():
        shutil.rmtree(folder)
    try:
        whole.rename(folder)
    except OSError:  # the other was first
        shutil.rmtree(whole)


def read_files(folder: Path) -> Files:
    """Put the files of a bundle into the object store, a piece at a time."""
    ray = import_ray()
    found: Files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            pieces = found.setdefault(file.relative_to(folder).as_posix(), [])
            with file.open("rb") as stream:
                while piece := stream.read(PIECE):
                    pieces.append(ray.put(piece))
    return found


def is_visible(cluster: Cluster, path: str, manifest: str) -> bool:
    """Whether the path leads to the same bundle on all nodes."""

    def digest() -> str | None:
        try:
            return hashlib.sha256((Path(path) / MANIFEST).read_bytes()).hexdigest()
        except OSError:
            return None

    return all(found == manifest for found in cluster.on_each(digest))


@contextmanager
def bundle_hosts(cluster: Cluster, bundle: Path, overlay: Overlay | None) -> Iterator[Hosts]:
    """A process on each node, with all of its CPUs, that answers for the users of a bundle; with
    the items that an event store has over the bundle's, or None without a store."""
    path, manifest = str(bundle.absolute()), digest_of_manifest(bundle)
    assert manifest is not None
    files = None if is_visible(cluster, path, manifest) else read_files(bundle)
    given = (path, manifest, files, overlay)
    with Hosts(cluster, len(cluster.cpus), BundleHost, *given) as hosts:
        yield hosts


class Call(NamedTuple):
    """A call of a `BundleHost`.

    Attributes:
        done: users that have an answer after it.
        method: of the host.
        given: to the method.
    """

    done: int
    method: str
    given: tuple[Any, ...]


def calls_of(
    recommender: Recommender | StoreRecommender, k: int, diversity: float, first: int
) -> Iterator[Call]:
    """The calls for all users but the first `first`."""
    if isinstance(recommender, StoreRecommender):
        done = first
        for batch in recommender.batches(first):
            done += len(batch.ids)
            yield Call(done, "answers_of", (batch, k, diversity))
        return
    total = recommender.served.num_users
    for start in range(first, total, CHUNK * CHUNKS_OF_A_CALL):
        stop = min(start + CHUNK * CHUNKS_OF_A_CALL, total)
        yield Call(stop, "answers", (start, stop, k, diversity))


def frames_of_all(hosts: Hosts, calls: Iterable[Call]) -> Iterator[tuple[int, pl.DataFrame]]:
    """As `Recommender.recommend_all`: the number of users that are done, and the rows of the next
    ones. A call is made when it is about to be sent: no more events are in memory than that."""
    waiting: deque[tuple[int, Asked]] = deque()
    for turn, call in enumerate(calls):
        waiting.append((call.done, hosts.submit(turn % len(hosts), call.method, *call.given)))
        if len(waiting) >= CALLS_AHEAD * len(hosts):
            done, asked = waiting.popleft()
            yield done, hosts.result(asked)
    for done, asked in waiting:
        yield done, hosts.result(asked)
