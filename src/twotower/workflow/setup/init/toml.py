"""Pieces of TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


def quoted(text: str) -> str:
    """A TOML basic string: JSON's, but for DEL, which only TOML refuses."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_of(name: str) -> str:
    """A TOML key, quoted where it has to be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def value_of(value: object) -> str:
    """Text, a truth value, a number or a list of them as TOML."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_of, value))}]"
    return json.dumps(value)


def one_line(text: str) -> str:
    """Text that can stand in a comment."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text)


def comment(text: str, width: int = 98) -> list[str]:
    """A sentence as lines of comments."""
    lines = [""]
    for word in one_line(text).split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return [f"# {line}" for line in lines]


def names_of(names: Sequence[str]) -> str:
    """Names of columns as a list in a sentence."""
    return one_line(", ".join(map(key_of, names)))
