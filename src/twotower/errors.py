"""Errors that a user can act on: where the problem is, what was found, and how to fix it.

Every error that a user's input can cause is a `TwoTowerError`; the command line prints its text
without a traceback and exits with 1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class TwoTowerError(Exception):
    """Base of all errors caused by input, files or configuration.

    >>> try:
    ...     tt.Dataset.read("missing.toml")
    ... except tt.TwoTowerError as error:
    ...     print(error)
    missing.toml: no such config file. Fix: `twotower init` writes one.
    """


class ConfigError(TwoTowerError):
    """The configuration is not right.

    >>> try:
    ...     tt.load_config("twotower.toml", ["training.epoch=3"])
    ... except tt.ConfigError as error:
    ...     print(error)
    twotower.toml: unknown key 'training.epoch', did you mean 'epochs'?
    """


class DataError(TwoTowerError):
    """A table, a column or a value is not right.

    >>> try:
    ...     tt.Dataset.from_frames(interactions.drop("item_id"), columns={"item_id": "sku"})
    ... except tt.DataError as error:
    ...     print(error)
    interactions frame, column 'sku': no such column. There are: user_id, timestamp. Fix: set
    data.columns.item_id to the name that this table uses.
    """


class NotFoundError(DataError):
    """An unknown id or name."""


class EmbeddingRangeError(DataError, ValueError):
    """An integer is outside the range of its embedding table."""


class TrainingError(TwoTowerError):
    """Training cannot go on; the last good state has been kept.

    >>> try:
    ...     tt.fit(
    ...         tt.TwoTower(schema=data.schema),
    ...         train,
    ...         training=tt.TrainingConfig(learning_rate=1e30, layer_learning_rate=1e30),
    ...     )
    ... except tt.TrainingError as error:
    ...     print(error)
    the loss became nan at step ... of epoch 1; no validation had been made. Fix: lower
    training.learning_rate, or raise retriever.temperature.
    """


class BundleError(TwoTowerError):
    """A bundle is cut off, edited, from another format, or cannot be written.

    >>> try:
    ...     tt.Recommender.load("missing")
    ... except tt.BundleError as error:
    ...     print(error)
    missing: ...
    """


class StoreError(TwoTowerError):
    """The event store cannot be reached, read or written."""


class VectorDatabaseError(TwoTowerError):
    """The database of the item vectors cannot be reached, read or written."""


class VectorDatabaseAwayError(VectorDatabaseError):
    """The database of the item vectors cannot be reached now; its address may well be right."""


class ClusterError(TwoTowerError):
    """A Ray cluster cannot be reached, or its processes cannot do the work."""


class ConflictError(StoreError):
    """Something else has been stored in the meantime, or under the same name."""


class Problems:
    """Collects problems, so that one error lists all of them, one per line."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, text: str) -> None:
        """Add the text of an error, which has one problem per line."""
        self.found += text.split("\n")

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect the problems of a step instead of raising them; its result is then missing."""
        try:
            yield
        except TwoTowerError as error:
            self.add(str(error))

    def refuse(self) -> None:
        """Raise the collected problems, each once.

        Raises:
            DataError: there is a problem.
        """
        if self.found:
            raise self.error()

    def error(self) -> DataError:
        """The collected problems, each once."""
        return DataError("\n".join(dict.fromkeys(self.found)))


def explain(
    problem: str,
    *,
    file: str | Path | None = None,
    row: int | None = None,
    column: str | None = None,
    value: object = None,
    fix: str | None = None,
) -> str:
    """Word an error: `file, row, column: problem (found value). Fix: what to do.`

    `row` counts data rows from 1; the header of a CSV file is not counted. The password of a URI
    is removed.
    """
    place = []
    if file is not None:
        place.append(without_password(str(file)))
    if row is not None:
        place.append(f"row {row}")
    if column is not None:
        place.append(f"column {column!r}")
    text = f"{', '.join(place)}: {problem}" if place else problem
    if value is not None:
        text += f" (found {shorten(value)})"
    if not text.endswith((".", "?")):
        text += "."
    if fix:
        text += f" Fix: {fix.rstrip('.')}."
    return text


def without_password(source: str) -> str:
    """A file, a folder or a URI as messages name it."""
    scheme, is_uri, rest = source.partition("://")
    if not is_uri:
        return source
    login = find_login(rest)
    address, mark, wanted = (rest[login.end() :] if login else rest).partition("#")
    return f"{scheme}://{f'{login[1]}:***@' if login else ''}{hide_query(address)}{mark}{wanted}"


def find_login(rest: str) -> re.Match[str] | None:
    """`USER:PASSWORD@` at the start of what follows `://`, before a host."""
    login = r"([^:/@#]*):(\S*)@(?=[\w.\-\[\]:%]*"
    return re.match(login + "[/?])", rest.partition("#")[0]) or re.match(
        login + "(?:[/?#]|$))", rest
    )


def hide_query(address: str) -> str:
    """An address without the values of `?password=`, `?sslpassword=` and `?token=`."""
    return re.sub(r"(?i)((?:password|token)=)[^&#]*", r"\1***", address)


def shorten(value: object, limit: int = 80) -> str:
    """`repr` of a value, cut in the middle to at most `limit` characters."""
    text = repr(value)
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known name nearest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def unknown(problem: str, word: str, known: Iterable[str], *, limit: int = 20) -> str:
    """`problem, did you mean 'x'? There are: x, y` for a name that is none of the known ones."""
    names = list(known)
    listed = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "") or "none"
    return f"{problem}{nearest(word, names) or '.'} There are: {listed}"
