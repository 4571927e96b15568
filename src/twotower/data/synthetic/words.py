"""Titles and descriptions of the synthetic catalogue: words that depend on an item's mood among
meaningless ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOOD_WORDS = (
    ("gentle", "quiet", "tender", "peaceful", "mellow", "soothing", "calm", "slow"),
    ("tense", "dark", "chilling", "breathless", "grim", "menacing", "sharp", "cold"),
    ("hilarious", "witty", "silly", "playful", "absurd", "cheeky", "zany", "droll"),
    ("epic", "sweeping", "grand", "heroic", "vast", "majestic", "towering", "bold"),
    ("clever", "puzzling", "intricate", "cerebral", "subtle", "layered", "cryptic", "wry"),
)
FILLERS = (
    "a story of two sisters in a small town",
    "an account of a long journey by train",
    "the tale of a house by the sea",
    "a portrait of a city at night",
    "the record of one summer",
    "a debut about work and money",
    "letters between old friends",
    "a season in the mountains",
    "the second part of a trilogy",
    "a retelling of an old legend",
    "notes from a distant island",
    "the life of a forgotten inventor",
)
ADJECTIVES = (
    *("Silver", "Hidden", "Last", "Golden", "Broken", "Early"),
    *("Northern", "Second", "Paper", "Open", "Burning", "Lost"),
)
NOUNS = (
    *("River", "Garden", "Signal", "Harbour", "Winter", "Mirror"),
    *("Station", "Letter", "Orchard", "Bridge", "Map", "Door"),
)


def titles(number: int, rng: np.random.Generator) -> list[str]:
    """(number,) titles without information."""
    first = rng.integers(len(ADJECTIVES), size=number)
    last = rng.integers(len(NOUNS), size=number)
    return [f"The {ADJECTIVES[a]} {NOUNS[b]}" for a, b in zip(first, last, strict=True)]


def descriptions(moods: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """(N,) texts for moods (N,): three of the mood's words and a meaningless phrase."""
    words = np.argsort(rng.random((len(moods), len(MOOD_WORDS[0]))), axis=1)[:, :3]
    fillers = rng.integers(len(FILLERS), size=len(moods))
    return [
        _describe([MOOD_WORDS[mood][word] for word in row], FILLERS[filler])
        for mood, row, filler in zip(moods, words, fillers, strict=True)
    ]


def _describe(words: list[str], filler: str) -> str:
    first, second, third = words
    return f"{first.capitalize()} and {second}, {filler}, with a {third} end."
