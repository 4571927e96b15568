"""The models of a comparison on a Ray cluster, several at a time. What a model writes is copied
into its folder of the comparison while it runs: an interrupted comparison, and a model whose
process died, go on with its finished trials."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Final, NamedTuple

from rich.console import Console

from twotower.atomic import replace_file
from twotower.data.dataset.dataset import Dataset
from twotower.workflow.cluster.connection import connect
from twotower.workflow.cluster.hosts import RETRIES, Hosts, ProcessDiedError
from twotower.workflow.comparison.contenders import Contender, contenders
from twotower.workflow.comparison.run_contender import (
    ANSWERS,
    FAILURE,
    RESULT,
    TRACEBACK,
    TRIALS,
    record_failure,
    run_contender,
)

SECONDS_BETWEEN_LOOKS: Final = 0.5
FILES: Final = (TRIALS, ANSWERS, TRACEBACK, FAILURE, RESULT)
"""What a model writes; the last two say that it is finished, and come after the others."""

Seen = dict[str, tuple[int, int]]
"""Name of a file -> when it was written, and its size."""


class ModelProgress(NamedTuple):
    """What there is to say of a model that runs.

    Attributes:
        is_running: whether it does.
        text: all that it has printed.
        files: name -> content of those files that are new or changed.
        seen: of all files.
        error: why it stopped without a result.
    """

    is_running: bool
    text: str
    files: dict[str, bytes]
    seen: Seen
    error: str | None


class ModelHost:
    """Runs models on a node, one after the other, each in a thread and a folder of its own."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name: str | None = None
        self.error: str | None = None

    def start(self, name: str, files: dict[str, bytes]) -> None:
        """Start a model, which goes on with the files that it has already."""
        self.name, self.error = name, None
        self.text = io.StringIO()
        self.kept = TemporaryDirectory(prefix="twotower-")  # that of another model is removed
        self.folder = Path(self.kept.name)
        for file, content in files.items():
            (self.folder / file).write_bytes(content)
        self.thread = Thread(target=self.run, args=(name,), daemon=True)
        self.thread.start()

    def run(self, name: str) -> None:
        """Run a model to its end."""
        console = Console(file=self.text, width=10_000)
        try:
            contender = contenders(self.dataset.config)[name]
            run_contender(contender, self.dataset, self.folder, console)
        except BaseException as error:
            self.error = f"{type(error).__name__}: {error}"

    def look(self, name: str, seen: Seen) -> ModelProgress | None:
        """What is new since something was seen; None where this process does not know the model,
        because it is not the one that started it."""
        if self.name != name:
            return None
        is_running = self.thread.is_alive()
        written = FILES[:1] if is_running else FILES
        there = {f: stat_of(self.folder / f) for f in written if (self.folder / f).exists()}
        new = {
            f: (self.folder / f).read_bytes() for f, stat in there.items() if seen.get(f) != stat
        }
        return ModelProgress(is_running, self.text.getvalue(), new, there, self.error)


def stat_of(file: Path) -> tuple[int, int]:
    """When a file was written, and its size."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


@dataclass
class Running:
    """A model that runs on a host.

    Attributes:
        contender: the model.
        folder: its folder of the comparison.
        seen: of its files.
        printed: how many characters of its text were printed.
        deaths: how often its process died.
    """

    contender: Contender
    folder: Path
    seen: Seen = field(default_factory=dict)
    printed: int = 0
    deaths: int = 0

    def start(self, hosts: Hosts, host: int) -> None:
        """Start it, with the trials that its folder has."""
        self.seen, self.printed = {}, 0
        file = self.folder / TRIALS
        known = {TRIALS: file.read_bytes()} if file.exists() else {}
        hosts.call(host, "start", self.contender.name, known)

    def is_finished(self, hosts: Hosts, host: int, console: Console) -> bool:
        """Copy what it wrote since; starts it again where its process died."""
        found: ModelProgress | None = hosts.call(host, "look", self.contender.name, self.seen)
        if found is None:
            self.deaths += 1
            if self.deaths > RETRIES:
                raise ProcessDiedError(f"its process on the cluster died {self.deaths} times")
            console.print(f"{self.contender.title}: its process died and is started again")
            self.start(hosts, host)
            return False
        text = found.text[self.printed :]
        if text:
            console.print(text, end="", highlight=False, markup=False, soft_wrap=True)
        for name in (name for name in FILES if name in found.files):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replace_file(self.folder / name) as aside:
                aside.write_bytes(found.files[name])
        self.seen, self.printed = found.seen, len(found.text)
        if found.error is not None:
            fail(self.folder, found.error)
        return not found.is_running


def fail(folder: Path, reason: str) -> None:
    """Record the failure of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    record_failure(folder, reason)


def run_models(
    chosen: Sequence[Contender], dataset: Dataset, folder: Path, address: str, console: Console
) -> None:
    """Run models on a cluster, one at a time on each node; a model that fails, or whose process
    dies again and again, is recorded as failed.

    Args:
        chosen: the models.
        dataset: the data of the comparison, sent to the nodes.
        folder: of the comparison.
        address: of the cluster; see `connect`.
        console: for progress messages.

    Raises:
        ClusterError: the cluster cannot be reached; what is finished is kept.
        KeyboardInterrupt: Ctrl-C was pressed; the finished trials are kept.
    """
    waiting = deque(chosen)
    if not waiting:
        return
    gpu = dataset.config.training.device != "cpu"
    with connect(address) as cluster:
        jobs = min(len(cluster.cpus), len(waiting))
        with Hosts(cluster, jobs, ModelHost, dataset, gpu=gpu) as hosts:
            running: dict[int, Running] = {}
            while waiting or running:
                for host in range(jobs):
                    if host not in running and waiting:
                        running[host] = begin(waiting.popleft(), folder, hosts, host, console)
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for host, model in list(running.items()):
                    if is_over(model, hosts, host, console):
                        del running[host]


def begin(contender: Contender, folder: Path, hosts: Hosts, host: int, console: Console) -> Running:
    """Start a model on a host."""
    console.print(f"{contender.title}: {contender.about}", highlight=False, markup=False)
    model = Running(contender, folder / contender.name)
    for name in (FAILURE, TRACEBACK):
        (model.folder / name).unlink(missing_ok=True)
    model.start(hosts, host)
    return model


def is_over(model: Running, hosts: Hosts, host: int, console: Console) -> bool:
    """Whether a model is finished or has failed."""
    try:
        return model.is_finished(hosts, host, console)
    except ProcessDiedError as error:
        fail(model.folder, str(error))
        return True
