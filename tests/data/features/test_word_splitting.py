"""Words of every script: marks stay with their letters, scripts without blanks have terms."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.features.word_splitting import split_words
from twotower.features.text import TextConfig


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("दिन, दान।", ["दिन", "दान"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("ශ්\u200dරී ලංකා", ["ශ්රී", "ලංකා"]),
        ("مُحَمَّد (كتاب)", ["مُحَمَّد", "كتاب"]),
        ("עִבְרִית", ["עִבְרִית"]),
        ("한국어 영화", ["한국어", "영화"]),
        ("e\u0323\u0300ko\u0323\u0301 cafe\u0301", ["\u1eb9\u0300k\u1ecd\u0301", "caf\u00e9"]),
        ("\U00011103\U00011127 \U00011104", ["\U00011103\U00011127", "\U00011104"]),
    ],
)
def test_marks_stay_with_their_letters(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京都", ["東京", "京都"]),
        ("水", ["水"]),
        ("カメラ、ﾃﾚﾋﾞ", ["カメ", "メラ", "テレ", "レビ"]),
        ("新iPhone手机 2024年", ["新", "iphone", "手机", "2024", "年"]),
        ("ที่นี่", ["ที่นี่"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("ລາວ", ["ລາ", "າວ"]),
        ("ខ្មែរ", ["ខ្មែ", "មែរ"]),
        ("မြန်မာ", ["မြန်", "န်မာ"]),
        ("電影。", ["電影"]),
        ("\U00020bb7野家", ["\U00020bb7野", "野家"]),
    ],
)
def test_scripts_without_blanks_have_pairs_of_characters(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_emoji_and_stray_marks_are_not_words() -> None:
    assert split_words("\u2764\ufe0f \U0001f468\u200d\U0001f469 \u0301 ok") == ["ok"]


LATIN_AND_OTHERS = {
    "The Lord of the Rings: The Return_of the King (2003), 9.5/10 & it's GREAT!": """
        85677 82956 65661 45627 62687 32893 80193 37260 32604 33636 99154 74934 73039 34396 41248
        90259 14813 1666 20669 46175 79011 37687 36088 13545 94542 11195 22361 27529""",
    "Ein König geht naïve Łódź Straße İstanbul \ufb01ne \u2013 \u201cA\u201d": """
        49085 19532 72890 39757 73429 71213 39392 19400 7489 71171 75920 88830 81282 58762 43900
        41387 76382 40542 57775""",
    "Война и мир, Οδύσσεια": "54786 75196 66464 76933 49906 99523 19823",
    "Tie\u0302\u0301ng Vie\u0323\u0302t cafe\u0301": "10991 48094 20328 46195 45717",
}
"""The buckets that bundles of all versions have for these."""


@pytest.mark.parametrize("text", LATIN_AND_OTHERS)
def test_texts_of_older_bundles_have_the_same_buckets(text: str) -> None:
    buckets = TextConfig(type="text", num_buckets=100_000).hash([text])[1]
    assert buckets.tolist() == [int(bucket) for bucket in LATIN_AND_OTHERS[text].split()]


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60))
def test_latin_words_are_runs_of_letters_and_digits(text: str) -> None:
    normal = unicodedata.normalize("NFKC", text).lower()
    found = split_words(text)
    assert found == re.findall(r"\w+", normal)
    # Beside a word of another script they are the same.
    assert split_words(text + " दिन") == [*found, "दिन"]


@given(st.text(max_size=60))
def test_every_letter_and_digit_is_in_a_word(text: str) -> None:
    normal = unicodedata.normalize("NFKC", text).lower()
    assert set(re.findall(r"\w", normal)) <= set("".join(split_words(text)))
