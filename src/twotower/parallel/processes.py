"""The processes that train together, and what they tell each other.

Every method that says "all processes" has to be called by all of them, in the same order. With one
process each is the identity.

Shapes: W processes, N rows of this process, M rows of all, D width.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.distributed_c10d import PrefixStore, Store, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from twotower._version import __version__
from twotower.errors import ConfigError, explain
from twotower.parallel.started import are_started, is_lost_connection, restarts

LONGEST_MEETING: Final = timedelta(minutes=10)
"""Within which all processes have to be there."""
LONGEST_WAIT: Final = timedelta(hours=12)
"""For the others: while the first process fits what is not trained by all, they wait. One that dies
is noticed at once, because its connections are closed."""

FIX_VARIABLES: Final = "have `torchrun` set them, or unset WORLD_SIZE to train by one process"

CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class ProcessGroup:
    """W processes, of which this one is number `rank`.

    Attributes:
        rank: 0 .. size - 1.
        size: W.
        device: of the tensors that are exchanged.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    # --- numbers ---

    @torch.no_grad()
    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, a new tensor of the same shape."""
        if not self.are_several:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    @torch.no_grad()
    def largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        if not self.are_several:
            return number
        total = torch.tensor(number, device=self.device)
        dist.all_reduce(total, dist.ReduceOp.MAX)
        return int(total)

    def mean(self, figures: dict[str, float], number: int) -> dict[str, float]:
        """The means of what each process has measured `number` times; all processes."""
        if not self.are_several:
            return figures
        sums = [number, *(number * figure for figure in figures.values())]
        told = torch.tensor(sums, dtype=torch.float64, device=self.device)
        total, *parts = self.sum(told).tolist()
        return {name: part / total for name, part in zip(figures, parts, strict=True)}

    def told(self, value: Any) -> Any:
        """What the first process says to all processes; the others pass anything."""
        if not self.are_several:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_told(self, value: Any) -> list[Any]:
        """What each of all processes says, in their order."""
        if not self.are_several:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.are_several:
            self.all_told(None)

    def draw_apart(self) -> None:
        """From here on each process draws random numbers of its own, given by the last seed."""
        if self.are_several:
            torch.manual_seed((torch.initial_seed() + self.rank + 1) % 2**63)

    # --- rows ---

    def counts(self, number: int) -> list[int]:
        """The numbers of all processes, in their order."""
        if not self.are_several:
            return [number]
        found = torch.empty(self.size, dtype=torch.int64, device=self.device)
        dist.all_gather(list(torch.split(found, 1)), torch.tensor([number], device=self.device))
        counts: list[int] = found.tolist()
        return counts

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (N, ...) of all processes one after the other, (M, ...), with a gradient to the
        rows of each."""
        if not self.are_several:
            return rows
        gathered: Tensor = _Gathered.apply(rows, self.counts(len(rows)))  # type: ignore[no-untyped-call]
        return gathered

    def gather_alike(self, rows: Tensor) -> Tensor:
        """The same for rows that are as many on every process, without a gradient."""
        if not self.are_several:
            return rows
        return gathered(rows, [len(rows)] * self.size)

    def exchange(self, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        """Rows (N, ...), of which each process in turn gets `sent`, to the rows (M, ...) that each
        sends here, with a gradient to where they came from."""
        if not self.are_several:
            return rows
        exchanged: Tensor = _Exchanged.apply(rows, sent, received)  # type: ignore[no-untyped-call]
        return exchanged


ONE: Final = ProcessGroup()
"""This process alone."""


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, ctx.rank = counts, dist.get_rank()
        return gathered(rows, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        counts, own = ctx.counts, ctx.counts[ctx.rank]
        parts = _all_to_all(gradient, counts, [own] * len(counts))
        return parts.view(len(counts), own, *gradient.shape[1:]).sum(dim=0), None


class _Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        return _all_to_all(rows, sent, received)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(gradient, ctx.received, ctx.sent), None, None


@torch.no_grad()
def gathered(rows: Tensor, counts: list[int]) -> Tensor:
    """The rows (N, ...) of all processes, which have `counts`, one after the other, (M, ...)."""
    longest = max(counts)
    padded = rows.detach().contiguous()
    if len(rows) < longest:
        padded = torch.cat([padded, padded.new_zeros(longest - len(rows), *rows.shape[1:])])
    found = padded.new_empty(len(counts) * longest, *rows.shape[1:])
    dist.all_gather(list(torch.split(found, longest)), padded)
    if min(counts) == longest:
        return found
    return torch.cat(
        [part[:n] for part, n in zip(torch.split(found, longest), counts, strict=True)]
    )


@torch.no_grad()
def _all_to_all(rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
    found = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(found, rows.detach().contiguous(), received, sent)
    return found


@contextmanager
def processes_of_environment(device: str) -> Iterator[ProcessGroup]:
    """The processes that `torchrun` started, connected until the end; one where nothing did.

    Args:
        device: `training.device`; "auto" gives each process a GPU of its own where there is one.

    Raises:
        ConfigError: a machine has fewer GPUs than processes, or other versions than the first; the
            environment variables are not those that `torchrun` sets, or not all processes came.
    """
    if not are_started():
        yield ONE
        return
    processes = meet(_device(device))
    try:
        yield processes
    finally:
        dist.destroy_process_group()


def meet(device: torch.device) -> ProcessGroup:
    """Connect to the others, which have LONGEST_MEETING to come.

    Raises:
        ConfigError: as `processes_of_environment`.
    """
    rank, size, port = (_number(name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    if rank >= size:
        problem = f"the environment variable RANK has to be less than WORLD_SIZE, which is {size}"
        raise ConfigError(explain(problem, value=rank, fix=FIX_VARIABLES))
    try:
        store, _, _ = next(rendezvous("env://", timeout=LONGEST_MEETING))
        # Started again, processes must not find the addresses of those that have died.
        store = PrefixStore(f"attempt-{restarts()}", store)
        check_versions(store, rank, size)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=LONGEST_MEETING,
            device_id=device if device.type == "cuda" else None,
        )
    except (RuntimeError, ValueError) as error:
        if is_lost_connection(error) and "imed out" not in str(error):
            raise
        raise ConfigError(
            explain(
                f"process {rank + 1} of {size} did not meet the others at "
                f"{os.environ.get('MASTER_ADDR')}:{port}: {str(error).splitlines()[0]}",
                fix="start all of them, with the same address, on machines that reach each other "
                "at any port. To train by one process, unset WORLD_SIZE",
            )
        ) from error
    _set_pg_timeout(LONGEST_WAIT)
    return ProcessGroup(rank, size, device)


def _number(name: str) -> int:
    """An environment variable that `torchrun` sets."""
    text = os.environ.get(name)
    if text is None or not text.isdecimal():
        problem = f"where WORLD_SIZE is set, {name} must be a whole number"
        raise ConfigError(explain(problem, value=text, fix=FIX_VARIABLES))
    return int(text)


def check_versions(store: Store, rank: int, size: int) -> None:
    """Refuse processes of different versions of twotower and torch; all processes, before they
    connect by what may differ.

    Raises:
        ConfigError: names the first process that differs, and its machine.
    """
    own = f"twotower {__version__} with torch {torch.__version__}"
    store.set(f"versions-{rank}", f"{own} on {socket.gethostname()}")
    found = [store.get(f"versions-{other}").decode() for other in range(size)]
    for other, versions in enumerate(found):
        if versions.partition(" on ")[0] != found[0].partition(" on ")[0]:
            raise ConfigError(
                explain(
                    f"process {other + 1} of {size} has {versions}, and the first one {found[0]}",
                    fix="install the same versions on all machines",
                )
            )


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name != "auto" and not name.startswith("cuda"):
        raise ConfigError(
            explain(
                "several processes train on CPUs, or each on a GPU of NVIDIA's",
                value=name,
                fix='set training.device = "auto", "cpu" or "cuda"',
            )
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise ConfigError(
            explain(
                f"this machine has {torch.cuda.device_count()} GPUs, and process {local + 1} on it "
                "needs one of its own",
                value=name,
                fix='start fewer processes, or set training.device = "cpu"',
            )
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
