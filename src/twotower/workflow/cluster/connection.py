"""Connecting to a Ray cluster. See docs/decisions/0046-ray.md."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from twotower._version import __version__
from twotower.errors import ClusterError, explain

Made = TypeVar("Made")

LOCAL: Final = "local"
AUTO: Final = "auto"
SECONDS_TO_ANSWER: Final = 10.0
"""How long a port may take to accept a connection."""
SECONDS_TO_CALL: Final = 30.0
"""How long a cluster may take to answer a small call."""
HEAD_CALL: Final = "/ray.rpc.NodeInfoGcsService/CheckAlive"
CLIENT_CALL: Final = "/ray.rpc.RayletDriver/ClusterInfo"
"""Small calls of a cluster's head and of its server for Ray Client; their requests may be empty."""
SECONDS_TO_CHECK: Final = 120.0
"""How long the nodes may take to tell their versions."""
FORMS: Final = (
    "local (a new cluster on this machine), auto (the one that runs on it), HOST:PORT (from a "
    "machine of the cluster) or ray://HOST:PORT (from any other)"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: as it was named.
        cpus: of each node, at least one CPU each, most first.
        num_gpus: of all nodes.
        nodes: their ids.
    """

    address: str
    cpus: tuple[int, ...]
    num_gpus: float
    nodes: tuple[str, ...]

    def on_each(self, look: Callable[[], Made]) -> list[Made]:
        """What a function says on each node; see `on_each`."""
        return on_each(import_ray(), self.nodes, look)

    def share_of(self, jobs: int) -> int:
        """The CPUs that each of some jobs can have at the same time, all on one node.

        Raises:
            ClusterError: there are more jobs than CPUs.
        """
        for share in range(self.cpus[0], 0, -1):
            if sum(cpus // share for cpus in self.cpus) >= jobs:
                return share
        raise ClusterError(
            explain(
                f"the cluster at {self.address} has {sum(self.cpus)} CPUs, and each job needs one",
                value=jobs,
                fix=f"ask for at most {sum(self.cpus)} jobs",
            )
        )


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to a Ray cluster; all that was started there ends with the connection.

    Args:
        address: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        ClusterError: Ray is not installed, nothing answers at the address, or a node has another
            version of Ray, Python or twotower.
    """
    check_address(address)
    ray = import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        init(ray, address)
    try:
        yield look_around(ray, address)
    finally:
        if started_here:
            ray.shutdown()


def import_ray() -> Any:
    """The module `ray`, which takes a second to import.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ClusterError(
            explain(
                "running on a cluster needs the package ray, which is not installed",
                fix="pip install 'twotower[ray]'",
            )
        ) from None


def check_address(address: str) -> None:
    """Refuse an address where no cluster answers: Ray itself would wait for minutes, or without an
    end where it has not the cluster's token.

    Raises:
        ClusterError: Ray is not installed, it is not an address, nothing or something else listens
            there, or the cluster asks for another token.
    """
    place = place_of(address)
    if place is None:
        return
    host, colon, port = place.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()) or "/" in host:
        raise ClusterError(
            explain("is not the address of a Ray cluster", value=address, fix=f"write {FORMS}")
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            explain(
                f"nothing answers at {place}: {error}",
                fix="check the address, and that `ray status` on that machine shows the cluster; "
                "ports are 6379 for HOST:PORT and 10001 for ray:// unless they were changed",
            )
        ) from None
    if os.environ.get("RAY_USE_TLS", "0") == "0":
        check_service(place, headers(address))


def place_of(address: str) -> str | None:
    """Where the cluster of an address listens; None for a new one, and for `auto` where there is
    none, which Ray says."""
    if address == LOCAL:
        return None
    import_ray()
    if address != AUTO:
        return address
    services = importlib.import_module("ray._private.services")
    with suppress(ConnectionError):
        found: str | None = services.get_ray_address_from_environment(AUTO, None)
        return None if found in (AUTO, LOCAL) else found
    return None


def headers(address: str) -> list[tuple[str, str]]:
    """What Ray sends with each call: the token, if it would read one."""
    loader = importlib.import_module("ray._raylet").AuthenticationTokenLoader.instance()
    # Ray takes a token that it finds for a cluster that it finds; otherwise it has to be told to.
    asks = address == AUTO and "RAY_AUTH_MODE" not in os.environ
    if not loader.has_token(ignore_auth_mode=asks):
        return []
    return list(loader.get_token_for_http_header().items())


def check_service(place: str, sent: Sequence[tuple[str, str]]) -> None:
    """Refuse a port where something else listens, or a cluster that refuses this process, by a
    small call.

    Args:
        place: `HOST:PORT` or `ray://HOST:PORT`.
        sent: the headers of the call.

    Raises:
        ClusterError: says which.
    """
    grpc = importlib.import_module("grpc")
    call = CLIENT_CALL if place.startswith("ray://") else HEAD_CALL
    with grpc.insecure_channel(place.removeprefix("ray://")) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS_TO_ANSWER)
            channel.unary_unary(call)(b"", timeout=SECONDS_TO_CALL, metadata=sent)
        except grpc.FutureTimeoutError:
            raise not_ray(place) from None
        except grpc.RpcError as error:
            code, codes = error.code(), grpc.StatusCode
            if code is codes.UNIMPLEMENTED:
                raise not_ray(place) from None
            if code is codes.UNAUTHENTICATED:
                raise refused(place, is_sent=bool(sent)) from None
            if code in (codes.DEADLINE_EXCEEDED, codes.UNAVAILABLE):
                raise ClusterError(
                    explain(
                        f"the cluster at {place} does not answer: {error.details()}",
                        fix="look at `ray status` on that machine",
                    )
                ) from None


def not_ray(place: str) -> ClusterError:
    """The error that something else listens at a place."""
    return ClusterError(
        explain(
            f"what answers at {place} is not a Ray cluster",
            fix="look up its port: 6379 for HOST:PORT and 10001 for ray:// unless they were "
            "changed; the dashboard's is another",
        )
    )


def refused(place: str, *, is_sent: bool) -> ClusterError:
    """The error that a cluster asks for a token."""
    found = "another token than the one found here" if is_sent else "a token"
    return ClusterError(
        explain(
            f"the cluster at {place} asks for {found}",
            fix="copy ~/.ray/auth_token of its machines to this one, or set RAY_AUTH_TOKEN, and "
            "set RAY_AUTH_MODE=token",
        )
    )


def init(ray: Any, address: str) -> None:
    """Start or reach a cluster.

    Raises:
        ClusterError: with Ray's reason.
    """
    new: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **new)
    except Exception as error:
        ray.shutdown()
        said = str(error).strip()
        lines = [line for line in said.splitlines() if line and not line.endswith(":")]
        reason = lines[-1].rstrip(".") if lines else type(error).__name__
        if "ersion mismatch" in said:
            raise ClusterError(
                explain(
                    f"the cluster at {address} has another version of Ray or Python: "
                    f"{' '.join(said.split())}",
                    fix=f"install the same everywhere; here it is Ray {ray.__version__} and Python "
                    f"{platform.python_version()}",
                )
            ) from None
        raise ClusterError(
            explain(
                f"there is no Ray cluster at {address}: {reason}",
                fix=f"start one with `ray start --head`, or write {FORMS}",
            )
        ) from None


def look_around(ray: Any, address: str) -> Cluster:
    """The nodes of the cluster, after checking that each has this version of twotower.

    Raises:
        ClusterError: names the first that has not.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise ClusterError(
            explain(f"no node of the cluster at {address} has a CPU", fix="add nodes to it")
        )

    def version() -> str | None:
        try:
            return str(importlib.import_module("twotower._version").__version__)
        except ModuleNotFoundError:
            return None

    ids = tuple(node["NodeID"] for node in nodes)
    for node, found in zip(nodes, on_each(ray, ids, version), strict=True):
        if found != __version__:
            there = "has no twotower" if found is None else f"has twotower {found}"
            raise ClusterError(
                explain(
                    f"node {node['NodeManagerAddress']} of the cluster at {address} {there}, and "
                    f"this is twotower {__version__}",
                    fix="install the same version on all nodes",
                )
            )
    return Cluster(
        address,
        tuple(sorted((int(node["Resources"]["CPU"]) for node in nodes), reverse=True)),
        sum(node["Resources"].get("GPU", 0.0) for node in nodes),
        ids,
    )


def on_each(ray: Any, nodes: Sequence[str], look: Callable[[], Made]) -> list[Made]:
    """What a function says on each of some nodes; it is sent to them as it stands, and needs no
    twotower there.

    Raises:
        ClusterError: a node does not answer.
    """
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    task = ray.remote(look)
    answers = [
        task.options(
            num_cpus=0,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote()
        for node in nodes
    ]
    try:
        return list(ray.get(answers, timeout=SECONDS_TO_CHECK))
    except ray.exceptions.RayError as error:
        raise ClusterError(
            explain(
                f"a node of the cluster does not answer: {first_line(error)}",
                fix="look at `ray status` and at the logs of its nodes",
            )
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error of Ray."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
