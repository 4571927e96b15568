"""The config file that a search writes: the user's own file with the values found."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.items import Table

from twotower.atomic import disk_error, replace_file
from twotower.config import Config, apply_override, load_config, parse_config
from twotower.errors import ConfigError, explain
from twotower.workflow.training.train import keys_of
from twotower.workflow.tuning.settings import Settings, with_settings

FIRST_LINE: Final = "# --- Written by `twotower tune`."
LAST_LINE: Final = "# ---"
HEADER: Final = re.compile(rf"\A{FIRST_LINE}.*?\n{LAST_LINE}\n\n?", re.DOTALL)
WIDTH: Final = 98


def text_of(config: Config) -> str:
    """A config that has no file, as TOML."""
    document = config.model_dump(mode="json", exclude_none=True)
    return tomlkit.dumps({key: part for key, part in document.items() if part})


def check_replaceable(out: Path) -> None:
    """Refuse to replace a file that was not written by `tune`.

    Raises:
        ConfigError: there is one.
    """
    if out.exists() and not (
        out.is_file() and out.read_bytes().startswith(FIRST_LINE.encode("utf-8"))
    ):
        raise ConfigError(
            explain(
                "exists and was not written by `twotower tune`, so it is not replaced",
                file=out,
                fix="choose another name with --out",
            )
        )


def write_best(
    out: Path,
    text: str,
    config: Config,
    changed: Settings,
    *,
    base: Path,
    overrides: Sequence[str],
    comments: Sequence[str],
) -> None:
    """Write the user's config file with other values; its comments and order are kept.

    Args:
        out: the file to write.
        text: of the user's file.
        config: what it says, with the overrides.
        changed: config key -> value found.
        base: folder that relative paths in `text` refer to.
        overrides: `section.key=value`, as given with the config.
        comments: paragraphs for the top of the file.

    Raises:
        ConfigError: the file cannot be written, or would not say what it should.
    """
    text = HEADER.sub("", text)
    plain = tomlkit.parse(text).unwrap()
    for override in overrides:
        apply_override(plain, override)
    keys = [override.partition("=")[0].strip() for override in overrides]
    values = {key: value_in(plain, key) for key in keys}
    if out.resolve().parent != base.resolve():
        values |= absolute_values(plain, config)
    values |= changed
    expected = with_settings(config, changed)
    try:
        with replace_file(out) as aside:
            for candidate in texts_with(text, values):
                aside.write_text(header(comments) + candidate, encoding="utf-8")
                if says(aside, expected):
                    return
            raise ConfigError(
                explain(
                    "the values found cannot be put into the config file",
                    file=out,
                    fix=f"set them by hand: {dict(changed)}",
                )
            )
    except OSError as error:
        if disk_error(error) is not None:
            raise
        raise ConfigError(explain(f"cannot be written: {error.strerror}", file=out)) from error


def header(comments: Sequence[str]) -> str:
    """Paragraphs as the comment at the top of the file."""
    lines = [FIRST_LINE]
    for comment in comments:
        lines += textwrap.wrap(
            comment, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
        )
    return "\n".join([*lines, LAST_LINE, "", ""])


def says(file: Path, expected: Config) -> bool:
    """Whether a config file can be read and holds these values."""
    try:
        return load_config(file) == expected
    except ConfigError:
        return False


def texts_with(text: str, values: Settings) -> Iterator[str]:
    """A TOML text with other values, in ways of which one works for every form of tables: with new
    tables at the end, so that a comment stays above the table that it is about; with new tables
    where tomlkit puts them; without comments."""
    document, added = tomlkit.parse(text), tomlkit.document()
    for key, value in values.items():
        *sections, last = key.split(".")
        table = find_table(document, sections)
        if table is None:
            put(added, key, value)
        elif last in table or not isinstance(table, Table):
            table[last] = value
        else:
            add_key(table, last, value)
    ended = tomlkit.dumps(document).rstrip("\n")
    yield f"{ended}\n\n{tomlkit.dumps(added)}" if added else f"{ended}\n"
    for whole in (tomlkit.parse(text), tomlkit.parse(text).unwrap()):
        for key, value in values.items():
            put(whole, key, value)
        yield tomlkit.dumps(whole)


def find_table(document: Any, sections: Sequence[str]) -> Any:
    """The table of a key; None if there is none."""
    table = document
    for section in sections:
        if section not in table:
            return None
        table = table[section]
    return None if isinstance(table, Table) and table.is_super_table() else table


def add_key(table: Table, name: str, value: Any) -> None:
    """Add a key behind the last one: the comments and empty lines after it belong to what
    follows."""
    body = table.value.body
    after = []
    while body and body[-1][0] is None:
        after.append(body.pop()[1])
    table.append(name, value)
    for item in reversed(after):
        body.append((None, item))


def put(document: Any, key: str, value: Any) -> None:
    """Set a dotted key; tables that are missing are added."""
    *sections, last = key.split(".")
    table = document
    for section in sections:
        if section not in table:
            table[section] = {}
        table = table[section]
    table[last] = value


def value_in(document: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    found: Any = document
    for part in key.split("."):
        found = found[part]
    return found


def absolute_values(document: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The keys of a document whose values are relative paths, with the absolute ones."""
    relative = dict(keys_of(parse_config(document).model_dump(mode="json")))
    absolute = dict(keys_of(config.model_dump(mode="json")))
    there = dict(keys_of(dict(document)))
    return {
        key: absolute[key]
        for key, value in relative.items()
        if key in there and isinstance(value, str) and value != absolute.get(key)
    }
