"""Config keys of the previous version. A key stays here for one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RENAMED: Final = {"ranker.taken": "ranker.user_positives"}
"""Old key -> new key, both `section.key` in the same section."""


def old_keys(document: Mapping[str, Any]) -> dict[str, str]:
    """The renamed keys that a document uses, old -> new."""
    found = {}
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        values = document.get(section)
        if isinstance(values, Mapping) and key in values:
            found[old] = new
    return found


def rename(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its old keys renamed; an old key beside its new one stays, which validation
    reports as unknown."""
    renamed = dict(document)
    for old, new in old_keys(document).items():
        section, _, key = old.partition(".")
        values = dict(renamed[section])
        new_key = new.partition(".")[2]
        if new_key not in values:
            values[new_key] = values.pop(key)
        renamed[section] = values
    return renamed
