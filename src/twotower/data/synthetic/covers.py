"""Cover images of the synthetic catalogue: a shape in a colour, which no other column reveals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from twotower.atomic import replace_folder

SIZE = 64
"""Width and height in pixels."""

COLOURS = ((205, 65, 55), (60, 160, 85), (65, 95, 200))
SHAPES: tuple[Callable[..., None], ...] = (
    ImageDraw.ImageDraw.ellipse,
    ImageDraw.ImageDraw.rectangle,
)


def draw_covers(names: list[str], looks: NDArray[np.int64], folder: Path, *, seed: int) -> None:
    """Draw one PNG an item into `folder`.

    Args:
        names: (N,) file names.
        looks: (N,) `len(SHAPES) * colour + shape`.
        folder: replaced as a whole if it is there.
        seed: of positions, sizes, shades and the grey of the background.
    """

    def fill(aside: Path) -> None:
        for name, cover in zip(names, covers(looks, seed=seed), strict=True):
            cover.save(aside / name)

    replace_folder(folder, fill)


def covers(looks: NDArray[np.int64], *, seed: int) -> Iterator[Image.Image]:
    """The cover of each look (N,), as in `draw_covers`."""
    rng = np.random.default_rng(seed)
    for look in looks.tolist():
        colour, shape = divmod(look, len(SHAPES))
        yield draw_cover(colour, shape, rng)


def draw_cover(colour: int, shape: int, rng: np.random.Generator) -> Image.Image:
    """A filled shape somewhere on a grey ground, (64, 64) RGB."""
    ground = int(rng.integers(150, 240))
    image = Image.new("RGB", (SIZE, SIZE), (ground, ground, ground))
    left, top = (int(place) for place in rng.integers(4, 24, 2))
    width = int(rng.integers(24, 36))
    shade = tuple(int(v) for v in np.clip(COLOURS[colour] + rng.normal(0, 18, 3), 0, 255))
    SHAPES[shape](ImageDraw.Draw(image), (left, top, left + width, top + width), fill=shade)
    return image
