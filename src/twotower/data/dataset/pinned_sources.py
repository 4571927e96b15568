"""Tables of a lake in one version each: what reads a table twice reads the same rows."""

from __future__ import annotations

from twotower.config import Config
from twotower.data.readers.lake_tables import pinned_source


def with_versions(config: Config) -> Config:
    """A config that names the version of each table of a lake: the newest where it names none.

    Raises:
        DataError: such a table cannot be read.
    """
    data = config.data

    def pinned(source: str | None) -> str | None:
        return None if source is None else pinned_source(source)

    split = {name: pinned(getattr(data.split, name)) for name in ("test", "validation")}
    tables = {
        name: pinned(getattr(data, name))
        for name in ("interactions", "users", "items", "exclude_users")
    }
    update = {**tables, "split": data.split.model_copy(update=split)}
    return config.model_copy(update={"data": data.model_copy(update=update)})
