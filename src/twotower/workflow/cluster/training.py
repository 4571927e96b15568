"""`twotower train --ray`: processes on a cluster that train one model, as those do that `torchrun`
starts on several machines."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from twotower.config import Config
from twotower.errors import ClusterError, ConfigError, TwoTowerError, explain
from twotower.parallel.processes import processes_of_environment
from twotower.parallel.started import ATTEMPT, MAX_RESTARTS, is_lost_connection, restarts
from twotower.registry import load_plugins
from twotower.training.interrupt import Interrupt, deferred_interrupt
from twotower.workflow.cluster.connection import Cluster, connect, first_line, import_ray
from twotower.workflow.cluster.hosts import SECONDS_FOR_ROOM, Asked, Hosts, ProcessDiedError
from twotower.workflow.cluster.terminal import SECONDS_TO_LOOK, Look, Terminal, console_of
from twotower.workflow.training.join_training import join_training
from twotower.workflow.training.train import Outcome, train_bundle

SECONDS_TO_FAIL: Final = 20.0
"""How long the others may take to say why they ended, after the first one has."""
FIX_DIED: Final = (
    "look at the logs of its nodes, most often memory ran out there; then run the same command "
    "with --resume"
)


class Member:
    """One of the processes."""

    def __init__(self, config: Config, out: Path, device: str) -> None:
        """Keep what is trained, and where the bundle goes.

        Args:
            config: the data, and what is trained.
            out: the bundle's folder.
            device: "cuda" or "cpu".
        """
        if device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        load_plugins(config.plugins)
        self.config, self.out = config, out

    def endpoint(self) -> tuple[str, int]:
        """An address and a free port where the others find this one, the first."""
        with socket.create_server(("", 0)) as server:
            return import_ray().util.get_node_ip_address(), server.getsockname()[1]

    def mark(self) -> str:
        """Make an empty folder beside the bundle, for the others to see; its path."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix=".twotower-", dir=self.out.parent)

    def unmark(self, path: str) -> None:
        """Remove it."""
        Path(path).rmdir()

    def place_without(self, path: str) -> str | None:
        """The name of this machine if it does not see a folder."""
        return None if Path(path).is_dir() else socket.gethostname()

    def train(
        self, environment: dict[str, str], resume: bool, terminal: Any, look: Look
    ) -> Outcome | None:
        """What `twotower train` does in a process with some environment; the first one returns the
        outcome and prints at a terminal."""
        os.environ.update(environment)
        with processes_of_environment(self.config.training.device) as processes:
            resume = resume or restarts() > 0
            if not processes.is_first:
                join_training(self.out, resume=resume, processes=processes)
                return None
            with console_of(terminal, look) as console:
                return train_bundle(
                    self.config, self.out, resume=resume, console=console, processes=processes
                )


def train_on_cluster(
    config: Config,
    out: Path,
    *,
    address: str,
    workers: int | None,
    resume: bool,
    console: Console,
) -> Outcome:
    """Train by processes on a Ray cluster and write a bundle; see `train_bundle`.

    Args:
        config: names data that all nodes can read.
        out: the bundle's folder, in one that all nodes share.
        address: of the cluster; see `connect`.
        workers: number of processes; None for one on each node.
        resume: an interrupted run.
        console: gets what the first process prints.

    Raises:
        TwoTowerError: config, data or training failed.
        ClusterError: the cluster cannot be reached, has too little room, or its nodes differ.
        ProcessDiedError: processes died again and again.
        KeyboardInterrupt: Ctrl-C was pressed where there is nothing to keep, or twice.
    """
    with connect(address) as cluster, deferred_interrupt() as interrupt:
        number = workers or len(cluster.nodes)
        gpu = needs_gpus(config, cluster, number)
        for attempt in range(MAX_RESTARTS + 1):
            given = (config, out.absolute(), "cuda" if gpu else "cpu")
            with Hosts(cluster, number, Member, *given, gpu=gpu) as hosts:
                try:
                    return Attempt(hosts, console, interrupt).run(attempt, resume=resume)
                except ProcessDiedError as error:
                    if attempt == MAX_RESTARTS:
                        said = f"{error}, and {MAX_RESTARTS} restarts have ended like this"
                        raise ProcessDiedError(explain(said, fix=FIX_DIED)) from None
                    console.print(
                        f"{error}: all go on from the last checkpoint (restart {attempt + 1} of "
                        f"{MAX_RESTARTS}).",
                        highlight=False,
                        markup=False,
                    )
    raise AssertionError("the last attempt returns")


def needs_gpus(config: Config, cluster: Cluster, number: int) -> bool:
    """Whether each process gets a GPU: where there are enough, or the config asks for them.

    Raises:
        ConfigError: the config asks for them, and there are too few.
    """
    device = config.training.device
    if device.startswith("cuda") and cluster.num_gpus < number:
        raise ConfigError(
            explain(
                f"the cluster at {cluster.address} has {cluster.num_gpus:.0f} GPUs, and each of "
                f"{number} processes needs one",
                value=device,
                fix='ask for fewer workers, or set training.device = "cpu"',
            )
        )
    return device != "cpu" and cluster.num_gpus >= number


class Attempt:
    """Training from the beginning, or from the last checkpoint, until a process dies."""

    def __init__(self, hosts: Hosts, console: Console, interrupt: Interrupt) -> None:
        """Take processes that are just being started."""
        self.hosts, self.ray = hosts, hosts.ray
        self.console, self.interrupt = console, interrupt
        self.terminal = self.ray.remote(Terminal).options(num_cpus=0).remote()
        self.is_told = False

    def run(self, attempt: int, *, resume: bool) -> Outcome:
        """Train, and end the terminal's actor.

        Args:
            attempt: how often there was another one.
            resume: an interrupted run.

        Raises:
            ProcessDiedError: says which one has died, if that is known.
            TwoTowerError: as `train_on_cluster`.
        """
        try:
            self.wait_for_room()
            self.check_folder()
            address, port = self.hosts.call(0, "endpoint")
            size = len(self.hosts)
            environment = {
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
                "LOCAL_RANK": "0",  # of the GPUs it sees its own one alone
                ATTEMPT: str(attempt),
            }
            given = (resume, self.terminal, Look.of(self.console))
            asked = [
                self.hosts.submit(rank, "train", environment | {"RANK": str(rank)}, *given)
                for rank in range(size)
            ]
            return self.watch(asked)
        finally:
            self.hosts.kill(self.terminal)
            self.console.show_cursor()

    def wait_for_room(self) -> None:
        """Until all processes run.

        Raises:
            ClusterError: they do not, for other jobs use the cluster, or nodes were lost.
        """
        starting = [actor.ready.remote() for actor in self.hosts.actors]
        seconds = 0.0
        while starting and seconds < SECONDS_FOR_ROOM:
            self.interrupt.check()
            _, starting = self.ray.wait(starting, num_returns=len(starting), timeout=1.0)
            seconds += 1.0
        if starting:
            raise ClusterError(
                explain(
                    f"the cluster has no room for {len(starting)} of {len(self.hosts)} processes, "
                    f"and had none for {SECONDS_FOR_ROOM:.0f} seconds",
                    fix="look at `ray status`; ask for fewer workers (with --resume, a run that "
                    "has begun goes on with any number of them)",
                )
            )

    def check_folder(self) -> None:
        """Refuse a bundle's folder that not all processes see.

        Raises:
            ClusterError: names the machine that does not.
        """
        mark = self.hosts.call(0, "mark")
        looks = [self.hosts.submit(rank, "place_without", mark) for rank in range(len(self.hosts))]
        places = [self.hosts.result(look) for look in looks]
        self.hosts.call(0, "unmark", mark)
        for place in places:
            if place is not None:
                raise ClusterError(
                    explain(
                        f"{place}, a node of the cluster, does not see this folder of the first "
                        "process: the checkpoint is written by all, and the bundle goes there",
                        file=Path(mark).parent,
                        fix="give --out a folder that all nodes share",
                    )
                )

    def watch(self, asked: list[Asked]) -> Outcome:
        """Print what the first process prints, and pass Ctrl-C on to it, until all have ended."""
        answers = waiting = [each.answer for each in asked]
        problems: dict[int, Exception] = {}
        while waiting and not problems:
            ended, waiting = self.ray.wait(waiting, timeout=SECONDS_TO_LOOK)
            self.show()
            if self.interrupt.pressed and not self.is_told:
                self.terminal.interrupt.remote()
                self.is_told = True
            problems = self.problems_of(ended, answers)
        if problems and waiting:
            number = len(waiting)
            ended, _ = self.ray.wait(waiting, num_returns=number, timeout=SECONDS_TO_FAIL)
            problems |= self.problems_of(ended, answers)
        self.show()
        if problems:
            self.fail(problems)
        outcome: Outcome = self.ray.get(answers[0])
        return outcome

    def show(self) -> None:
        """Print what has arrived."""
        with suppress(self.ray.exceptions.RayError):  # it is gone, and so is what it had
            self.console.file.write(self.ray.get(self.terminal.read.remote()))
            self.console.file.flush()

    def problems_of(self, ended: list[Any], answers: list[Any]) -> dict[int, Exception]:
        """The errors among answers, by the number of the process."""
        found: dict[int, Exception] = {}
        for answer in ended:
            try:
                self.ray.get(answer)
            except self.ray.exceptions.RayError as error:
                found[answers.index(answer)] = error
        return found

    def fail(self, problems: dict[int, Exception]) -> None:
        """Raise the error that explains the others.

        Args:
            problems: of processes, by their number.

        Raises:
            TwoTowerError: that a process has raised.
            ProcessDiedError: no process has failed otherwise than by losing another one.
            ClusterError: a process has raised another error.
            KeyboardInterrupt: they ended by Ctrl-C.
        """
        raised = {
            rank: error.cause
            for rank, error in problems.items()
            if isinstance(error, self.ray.exceptions.RayTaskError)
        }
        for error in raised.values():
            if isinstance(error, TwoTowerError):
                raise error from None
        if self.interrupt.pressed:
            raise KeyboardInterrupt
        for error in raised.values():
            if not is_lost_connection(error):
                reason = f"{type(error).__name__}: {error}"
                raise ClusterError(explain(f"training on the cluster failed: {reason}"))
        died = {rank: error for rank, error in problems.items() if rank not in raised}
        size = len(self.hosts)
        for rank, error in died.items():
            raise ProcessDiedError(f"process {rank + 1} of {size} died ({first_line(error)})")
        raise ProcessDiedError(f"one of {size} processes lost the connection to another one")
