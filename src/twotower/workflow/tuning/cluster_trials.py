"""Trials on a Ray cluster. Each process gets the dataset once, and starts again where it dies; what
a trial writes comes back with its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from twotower.atomic import replace_file
from twotower.data.dataset.dataset import Dataset
from twotower.workflow.cluster.connection import connect
from twotower.workflow.cluster.hosts import Hosts, ProcessDiedError
from twotower.workflow.tuning.search import trial_of
from twotower.workflow.tuning.settings import Settings
from twotower.workflow.tuning.study import Curve, Trial
from twotower.workflow.tuning.trial import TrialRunner, finished_curves


class TrialHost:
    """Runs trials on a node."""

    def __init__(self, dataset: Dataset) -> None:
        self.folder = TemporaryDirectory(prefix="twotower-")
        self.runner = TrialRunner(dataset, Path(self.folder.name), Console(quiet=True))

    def run(
        self, number: int, settings: Settings, curves: Sequence[Curve]
    ) -> tuple[dict[str, Any], bytes | None]:
        """A trial, and the file with its metric for each validation user."""
        trial = self.runner.run(number, settings, curves)
        file = self.runner.folder / f"{number}.parquet"
        return asdict(trial), file.read_bytes() if trial.value is not None else None


class ClusterTrials:
    """As `Processes`, on a cluster."""

    def __init__(self, hosts: Hosts, values: Path, pool: ThreadPoolExecutor) -> None:
        """Use some processes.

        Args:
            hosts: each holds a `TrialHost`.
            values: receives the metric of each validation user, a file per trial.
            pool: a thread for each process.
        """
        self.hosts, self.values, self.pool = hosts, values, pool
        self.idle: SimpleQueue[int] = SimpleQueue()
        for host in range(len(hosts)):
            self.idle.put(host)

    def run(self, number: int, settings: Settings, trials: Sequence[Trial]) -> Trial:
        """Run a trial in an idle process; if that dies again and again, the trial fails.

        Raises:
            ClusterError: the cluster cannot go on.
        """
        host = self.idle.get()
        try:
            document, values = self.hosts.call(
                host, "run", number, dict(settings), finished_curves(trials)
            )
        except ProcessDiedError as error:
            return Trial(number, dict(settings), None, 0.0, str(error))
        finally:
            self.idle.put(host)
        if values is not None:
            self.values.mkdir(parents=True, exist_ok=True)
            with replace_file(self.values / f"{number}.parquet") as aside:
                aside.write_bytes(values)
        return trial_of(document)


@contextmanager
def cluster_trials(
    address: str, dataset: Dataset, values: Path, jobs: int
) -> Iterator[ClusterTrials]:
    """Processes for some trials at the same time; they end with the context.

    Raises:
        ClusterError: the cluster cannot be reached, or has fewer CPUs.
    """
    gpu = dataset.config.training.device != "cpu"
    pool = ThreadPoolExecutor(jobs)
    with connect(address) as cluster:
        try:
            with Hosts(cluster, jobs, TrialHost, dataset, gpu=gpu) as hosts:
                yield ClusterTrials(hosts, values, pool)
        finally:
            pool.shutdown(cancel_futures=True)
