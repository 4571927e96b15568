"""`twotower train` in another process than the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twotower.atomic import is_written_by
from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, explain
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.processes import ProcessGroup
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.train import KEPT, run_folder, with_refit_chosen


def join_training(out: Path, *, resume: bool, processes: ProcessGroup) -> None:
    """What another process than the first does for `train_bundle`: it fits the towers along, and
    again if the first one tells it a config to refit them by. The rest the first one does alone.

    Raises:
        TwoTowerError: data or training failed, or this process does not see the folder of `out`.
    """
    run = run_folder(out)
    # The first one has read the data, and knows which version of them to read.
    config, name = processes.told(None)
    if not is_written_by(run, name):
        raise ConfigError(
            explain(
                f"process {processes.rank + 1} of {processes.size} does not see the folder of the "
                "run, which all of them write to",
                file=run,
                fix="give --out a folder that all machines share",
            )
        )
    dataset = Dataset.read(config, work=run / KEPT)
    config = dataset.config
    dataset = replace(dataset, config=with_refit_chosen(config, dataset))
    folder = run / "fit"
    next_config: Config | None = dataset.config
    while next_config is not None:
        fit_retriever(
            TwoTower(next_config.retriever, dataset.schema, seed=next_config.training.seed),
            dataset.train,
            dataset.validation,
            config=next_config,
            checkpoint=folder,
            resume=resume,
            processes=processes,
        )
        next_config = processes.told(None)
        if next_config is not None:
            folder = run / "refit"
            refit = next_config.training.refit
            assert refit in ("train", "all")
            dataset = replace(dataset, config=next_config).refit(refit)
