"""Text to words, in every script."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

_WORD = re.compile(r"\w+")
_BEYOND_LATIN = re.compile(r"[^\x00-\u02ff\u0370-\u0482\u048a-\u058f\u1e00-\u20cf\u2100-\u2bff]")
"""Neither Latin, Greek, Cyrillic and Armenian letters nor symbols: words may hold marks or be
written without blanks."""

_WITHOUT_BLANKS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff"  # Kana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""Scripts that write no blanks between words."""


def split_words(text: str) -> list[str]:
    """The lower-cased words of a text after Unicode normalisation (NFKC).

    A word is a run of letters, digits and underscores with the marks that are combined with them.
    Of scripts that write no blanks between words, each pair of neighbouring characters is a word,
    and so is a character that stands alone.

    >>> split_words("Über 2 Töne: 東京都")
    ['über', '2', 'töne', '東京', '京都']
    """
    text = unicodedata.normalize("NFKC", text).lower()
    if text.isascii() or not _BEYOND_LATIN.search(text):
        return _WORD.findall(text)
    joiner, token, character = _patterns()
    words: list[str] = []
    for run, word in token.findall(joiner.sub("", text)):
        if word:
            words.append(word)
            continue
        characters = character.findall(run)
        words += ["".join(pair) for pair in pairwise(characters)] or characters
    return words


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Joiners within a word; a run without blanks, or a word; a character of a run."""
    marks = _marks()
    character = rf"(?=[{_WITHOUT_BLANKS}])\w[{marks}]*"
    letter = rf"[^\W{_WITHOUT_BLANKS}]"
    return (
        re.compile(rf"(?<=[{marks}])[\u200c\u200d]"),
        re.compile(rf"((?:{character})+)|({letter}(?:{letter}|[{marks}])*)"),
        re.compile(character),
    )


def _marks() -> str:
    """The combining marks as a class of a regular expression, without the brackets.

    Not among them: variation selectors, which follow emoji, and the dot above, which is left over
    where a Turkish capital is lower-cased.
    """
    codes = [
        code
        for code in range(0x300, 0x1F000)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
        and not 0xFE00 <= code <= 0xFE0F
        and code != 0x307
    ]
    known = set(codes)
    starts = (code for code in codes if code - 1 not in known)
    ends = (code for code in codes if code + 1 not in known)
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
