"""Why an item was recommended: a code with parameters, and the sentence that says it."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ConfigError, explain, unknown

SIMILAR_TO_HISTORY, MATCHES_FEATURES = "similar_to_history", "matches_features"
POPULAR_IN_CONTEXT, POPULAR, FROM_CATALOG = "popular_in_context", "popular", "from_catalog"
FOR_YOU, SIMILAR_ITEM = "for_you", "similar_item"
PLACEHOLDERS: Final[Mapping[str, str | None]] = {
    SIMILAR_TO_HISTORY: "item",
    MATCHES_FEATURES: "features",
    POPULAR_IN_CONTEXT: "context",
    POPULAR: None,
    FROM_CATALOG: None,
    FOR_YOU: None,
    SIMILAR_ITEM: None,
}
"""Code -> what its sentences must name in braces."""
LISTS: Final = {"separator": ", ", "last": " and "}
FEATURE_NAMES: Final = "feature_names"


class Reason(NamedTuple):
    """Why an item was recommended, for programs.

    Attributes:
        code: a key of `PLACEHOLDERS`.
        parameters: as JSON. `similar_to_history`: `item_id`, `item` (its name), `event_type` (of
            the newest event with it, or None), `similarity` (cosine of the item vectors).
            `matches_features`: `features` (names). `popular_in_context`: `context` (feature ->
            value) and `count` (feature -> interactions there). `popular`: `count`.
            `similar_item`: `item_id`.
    """

    code: str
    parameters: Mapping[str, Any] = {}


@dataclass(frozen=True)
class ReasonSentences:
    """The sentence of each reason, in one language.

    Attributes:
        sentences: code -> event type or context feature, or `default` -> a sentence.
        feature_names: feature -> as a sentence names it.
        separator, last: between the parts of a list, and before its last one.
    """

    sentences: Mapping[str, Mapping[str, str]]
    feature_names: Mapping[str, str]
    separator: str
    last: str

    @staticmethod
    def load(path: str | Path | None = None) -> ReasonSentences:
        """Read a file of sentences; default: the English ones.

        Raises:
            ConfigError: names the file, the key and the fix.
        """
        if path is None:
            with as_file(files(__package__) / "reasons.en.toml") as own:
                return ReasonSentences.load(own)
        tables = read_tables(path)
        known = [*PLACEHOLDERS, FEATURE_NAMES, "lists"]
        for code in tables:
            if code not in known:
                raise wrong(path, code, unknown("there is no such reason", code, known))
        for code, placeholder in PLACEHOLDERS.items():
            check_sentences(path, code, tables.get(code), placeholder)
        given, names = tables.get("lists", {}), tables.get(FEATURE_NAMES, {})
        for key in given:
            if key not in LISTS:
                raise wrong(path, f"lists.{key}", unknown("there is no such key", key, LISTS))
        for table, texts in (("lists", given), (FEATURE_NAMES, names)):
            for key, text in texts.items():
                if not isinstance(text, str):
                    fix = "write it in quotes"
                    raise wrong(path, f"{table}.{key}", "is not text", fix, text)
        sentences = {code: tables[code] for code in PLACEHOLDERS}
        return ReasonSentences(sentences, names, **{**LISTS, **given})

    def sentence(self, reason: Reason) -> str:
        """A reason in words."""
        sentences, given = self.sentences[reason.code], reason.parameters
        match reason.code:
            case "similar_to_history":
                event_type = (given["event_type"] or "default").lower()
                chosen = sentences.get(event_type, sentences["default"])
                return chosen.format(item=given["item"])
            case "matches_features":
                names = [self.feature_names.get(n, n.replace("_", " ")) for n in given["features"]]
                return sentences["default"].format(features=self._joined(names))
            case "popular_in_context":
                names, values = list(given["context"]), list(given["context"].values())
                key = names[0] if len(names) == 1 else "default"
                chosen = sentences.get(key, sentences["default"])
                return chosen.format(context=self._joined(values))
        return sentences["default"]

    def _joined(self, parts: Sequence[str]) -> str:
        head = self.separator.join(parts[:-1])
        return f"{head}{self.last}{parts[-1]}" if head else parts[-1]


def read_tables(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: it does not exist, or is not TOML.
    """
    fix = "copy serving/answer/reasons.en.toml of the package and translate it"
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "does not exist"
    except (OSError, ValueError) as error:
        problem = f"is not valid TOML: {error}"
    raise ConfigError(explain(problem, file=path, fix=fix))


def check_sentences(path: str | Path, code: str, table: Any, placeholder: str | None) -> None:
    """Refuse a code without a default sentence, and a sentence that does not say what it must.

    Raises:
        ConfigError: names the file, the key and the fix.
    """
    if not isinstance(table, dict) or "default" not in table:
        raise wrong(path, f"{code}.default", "has no sentence", "add one")
    wanted = set() if placeholder is None else {placeholder}
    fix = f"name {{{placeholder}}} in it" if wanted else "write it without braces"
    for key, text in table.items():
        try:
            found = {name for _, name, *_ in string.Formatter().parse(text) if name is not None}
        except (TypeError, ValueError):
            raise wrong(path, f"{code}.{key}", "is not a sentence", fix, text) from None
        if more := sorted(found - wanted):
            raise wrong(path, f"{code}.{key}", f"names {{{more[0]}}}, which is unknown", fix, text)
        if found != wanted:
            raise wrong(path, f"{code}.{key}", f"does not name {{{placeholder}}}", fix, text)
        try:
            text.format(**dict.fromkeys(wanted, "x"))
        except (KeyError, IndexError, ValueError):
            raise wrong(path, f"{code}.{key}", "is not a sentence", fix, text) from None


def wrong(
    path: str | Path, key: str, problem: str, fix: str | None = None, value: object = None
) -> ConfigError:
    """The error of a key of a file of sentences."""
    return ConfigError(explain(f"key {key!r}: {problem}", file=path, value=value, fix=fix))


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, D) rows of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
