"""What `twotower export-events` wrote, beside the tables of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from twotower.config import DataConfig, FormatsConfig
from twotower.errors import DataError, explain

INTERACTIONS: Final = "interactions"
ITEMS: Final = "items"
FORGOTTEN: Final = "forgotten"


def exported_file(config: DataConfig, name: str) -> str | None:
    """The file of a table in the folder of `data.exported`, or None.

    Raises:
        DataError: the folder has several of this name.
    """
    if config.exported is None:
        return None
    found = sorted(Path(config.exported).glob(f"{name}.*"))
    found = [file for file in found if file.suffix != ".writing"]
    if len(found) > 1:
        raise DataError(
            explain(
                f"has several tables of {name}: {', '.join(file.name for file in found)}",
                file=config.exported,
                fix="keep the newest, or export again",
            )
        )
    return str(found[0]) if found else None


def as_exported(config: DataConfig) -> DataConfig:
    """The section as it reads exported tables: they are written as usual, whatever the format of
    the others is."""
    return config.model_copy(update={"format": FormatsConfig(), "separator": None})
