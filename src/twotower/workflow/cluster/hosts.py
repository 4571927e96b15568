"""Objects that live on the nodes of a cluster, each in a process of its own, and are made again
where that process dies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Final

import torch

from twotower.errors import ClusterError, TwoTowerError, explain
from twotower.workflow.cluster.connection import Cluster, first_line, import_ray

RETRIES: Final = 3
"""How often a call is made again whose process died."""


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

    def call(self, method: str, *given: Any) -> Any:
        """Call a method of the object."""
        return getattr(self.held, method)(*given)


class Hosts:
    """A fixed number of objects on a cluster; a context manager that ends their processes.

    A process that dies, with its machine or without, is started anew on any node that has room, and
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
        self.threads = cluster.share_of(jobs)
        gpus = min(1.0, cluster.num_gpus / jobs) if gpu else 0.0
        actor = self.ray.remote(Host).options(
            num_cpus=self.threads,
            num_gpus=gpus if gpus == 1.0 else int(gpus * 100) / 100,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        # Kept, as a process that starts again needs them.
        self.sent = [self.ray.put(each) for each in given]
        self.actors = [actor.remote(self.threads, make, *self.sent) for _ in range(jobs)]

    def __len__(self) -> int:
        return len(self.actors)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        for actor in self.actors:
            with suppress(Exception):  # the cluster may be gone
                self.ray.kill(actor)

    def submit(self, host: int, method: str, *given: Any) -> Any:
        """Call a method of an object; returns what `result` takes."""
        return self.actors[host].call.remote(method, *given)

    def result(self, asked: Any) -> Any:
        """Wait for the result of a call.

        Raises:
            TwoTowerError: that the call raised.
            ProcessDiedError: its process died again and again.
            ClusterError: the call raised another error.
        """
        try:
            return self.ray.get(asked)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, TwoTowerError):
                raise error.cause from None
            raise ClusterError(
                explain(f"work on the cluster failed: {type(error.cause).__name__}: {error.cause}")
            ) from error
        except self.ray.exceptions.RayError as error:
            raise ProcessDiedError(
                explain(
                    f"a process on the cluster died {RETRIES + 1} times, or cannot be started: "
                    f"{first_line(error)}",
                    fix="look at the logs of its nodes; most often memory ran out there",
                )
            ) from error

    def call(self, host: int, method: str, *given: Any) -> Any:
        """Call a method of an object, and wait for its result; raises as `result` does."""
        return self.result(self.submit(host, method, *given))
