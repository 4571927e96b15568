"""Objects that live on the nodes of a cluster, each in a process of its own, and are made again
where that process dies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple

import torch

from twotower.errors import ClusterError, TwoTowerError, explain
from twotower.workflow.cluster.connection import Cluster, first_line, import_ray

RETRIES: Final = 3
"""How often a call is made again whose process died."""
SECONDS_FOR_ROOM: Final = 180.0
"""How long a process that died may wait for a node with room."""


class ProcessDiedError(ClusterError):
    """A process on a cluster died again and again."""


class Host:
    """Holds an object in a process of a cluster; makes it for the first call, so that the caller
    gets the error where it cannot be made."""

    def __init__(self, threads: int, make: Callable[..., Any], *given: Any) -> None:
        """Keep what the object is made of, whose products of matrices use some threads."""
        torch.set_num_threads(threads)
        self.make: Callable[[], Any] = lambda: make(*given)

    @cached_property
    def held(self) -> Any:
        """The object."""
        return self.make()

    def ready(self) -> None:
        """Return as soon as the process runs."""

    def call(self, method: str, *given: Any) -> Any:
        """Call a method of the object."""
        return getattr(self.held, method)(*given)


class Asked(NamedTuple):
    """A call that was made.

    Attributes:
        host: whose.
        method: of the object.
        given: to the method.
        actor: the process that was asked.
        answer: where the result will be.
    """

    host: int
    method: str
    given: tuple[Any, ...]
    actor: Any
    answer: Any


class Hosts:
    """A fixed number of objects on a cluster; a context manager that ends their processes.

    A process that dies, with its node or without, is started again on any node that has room, and
    what it was asked is asked again: calls must not depend on those before them.
    """

    def __init__(
        self, cluster: Cluster, jobs: int, make: Callable[..., Any], *given: Any, gpu: bool = False
    ) -> None:
        """Start the processes.

        Args:
            cluster: where they run.
            jobs: how many.
            make: makes the object, of `given`: whatever Ray can send, once for all processes.
            gpu: whether each gets its part of the cluster's GPUs, one at most.

        Raises:
            ClusterError: the cluster has fewer CPUs.
        """
        self.ray = import_ray()
        threads = cluster.share_of(jobs)
        gpus = min(1.0, cluster.num_gpus / jobs) if gpu else 0.0
        actor = self.ray.remote(Host).options(
            num_cpus=threads, num_gpus=gpus if gpus == 1.0 else int(gpus * 100) / 100
        )
        sent = [self.ray.put(each) for each in given]
        self.start: Callable[[], Any] = lambda: actor.remote(threads, make, *sent)
        self.actors = [self.start() for _ in range(jobs)]

    def __len__(self) -> int:
        return len(self.actors)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            self.kill(actor)

    def kill(self, actor: Any) -> None:
        """End a process, if it is still there."""
        with suppress(Exception):  # the cluster may be gone
            self.ray.kill(actor)

    def submit(self, host: int, method: str, *given: Any) -> Asked:
        """Call a method of an object; returns what `result` takes."""
        actor = self.actors[host]
        return Asked(host, method, given, actor, actor.call.remote(method, *given))

    def result(self, asked: Asked) -> Any:
        """Wait for the result of a call.

        Raises:
            TwoTowerError: that the call raised.
            ProcessDiedError: its process died again and again.
            ClusterError: the call raised another error, or there is no room for its process.
        """
        said = ""
        for _ in range(RETRIES + 1):
            try:
                return self.ray.get(asked.answer)
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, TwoTowerError):
                    raise error.cause from None
                reason = f"{type(error.cause).__name__}: {error.cause}"
                raise ClusterError(explain(f"work on the cluster failed: {reason}")) from error
            except self.ray.exceptions.RayError as error:  # the process, or its answer, is lost
                said = first_line(error)
            self.restart(asked.host, asked.actor)
            asked = self.submit(asked.host, asked.method, *asked.given)
        raise ProcessDiedError(
            explain(
                f"a process on the cluster died {RETRIES + 1} times: {said}",
                fix="look at the logs of its nodes; most often memory ran out there",
            )
        )

    def restart(self, host: int, actor: Any) -> None:
        """Start the process of an object again, unless that was done already.

        Raises:
            ClusterError: no node has room for it, as its node was lost.
        """
        if self.actors[host] is not actor:
            return
        self.kill(actor)
        self.actors[host] = self.start()
        ready, _ = self.ray.wait([self.actors[host].ready.remote()], timeout=SECONDS_FOR_ROOM)
        if not ready:
            raise ClusterError(
                explain(
                    "a node of the cluster was lost, and no other has room for its process",
                    fix="run the same command again (`tune` with --resume), which goes on behind "
                    "what is finished, with the nodes that there are",
                )
            )

    def call(self, host: int, method: str, *given: Any) -> Any:
        """Call a method of an object, and wait for its result; raises as `result` does."""
        return self.result(self.submit(host, method, *given))
