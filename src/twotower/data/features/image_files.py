"""Image files to pixels: read and decoded in threads; unusable ones are counted and logged.

Nothing here trusts a file: only plain raster formats are tried, files and pictures above a limit
are refused before they are decoded, and only regular files are opened.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageOps

from twotower.data.features.cells import to_texts
from twotower.data.values.row_errors import refuse_rows
from twotower.errors import DataError, explain, shorten

LOG = logging.getLogger("twotower")

Source = str | bytes
"""An absolute or relative path, or the content of an image file."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM")
"""Formats that are tried; none of them starts another program."""
MAX_PIXELS = 64_000_000
"""Larger pictures are refused: a small file can claim to be billions of pixels."""
MAX_BYTES = 128 * 2**20
"""Larger files are refused."""
AT_ONCE = 256
"""Pictures that are held in memory between reading and encoding."""


class UnusableImageError(Exception):
    """A picture that counts as missing; its text says why."""


@dataclass(frozen=True)
class Picture:
    """A source, read.

    Attributes:
        key: of its content; empty where it could not be read.
        pixels: what `prepare` made of it; None where it was not asked for, or is not usable.
        problem: why it is not usable, or None.
    """

    key: bytes
    pixels: NDArray[Any] | None
    problem: str | None


def image_sources(
    column: pl.Series, *, file: str | None = None, rows: bool = True
) -> list[Source | None]:
    """A column of paths, file:// URLs or bytes as sources (R,), None where there is none.

    Raises:
        DataError: the column holds something else, or a web address.
    """
    if column.dtype == pl.Binary:
        return [cell or None for cell in column.to_list()]
    if column.dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
        raise DataError(
            explain(
                f"is declared as an image, but holds values of type {column.dtype}",
                file=file,
                column=column.name,
                fix="write paths of image files, or their bytes",
            )
        )
    texts = to_texts(column, file=file)
    refuse_rows(
        texts.str.contains("(?i)^(https?|ftp)://").fill_null(False).to_numpy(),
        column,
        file,
        rows,
        "is an address on the web, and images are not fetched from there",
        "download the files first, and write their paths",
    )
    return texts.to_list()


def fetch(source: Source, folder: Path) -> bytes:
    """The content of a source; relative paths start at `folder`.

    Raises:
        UnusableImageError: no such file, no regular file, or one that is too large.
    """
    if isinstance(source, bytes):
        content = source
    else:
        path = folder / (_path_of(source) if source[:7].lower() == "file://" else source)
        try:
            if not path.is_file():
                raise UnusableImageError("no such file")
            if path.stat().st_size > MAX_BYTES:
                raise UnusableImageError("too large a file")
            content = path.read_bytes()
        except (OSError, ValueError):
            raise UnusableImageError("a file that cannot be read") from None
    if len(content) > MAX_BYTES:
        raise UnusableImageError("too large a file")
    return content


def _path_of(url: str) -> str:
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        raise UnusableImageError("no such file") from None
    drive = os.name == "nt" and path[2:3] == ":"
    return path[1:] if drive else path


def decode(content: bytes, *, at_least: int) -> Image.Image:
    """An image file's content as an RGB picture, upright, on white where it is transparent.

    Args:
        content: of the file.
        at_least: a side of so many pixels is enough, which spares work on large JPEG files.

    Raises:
        UnusableImageError: no image, a broken one, or one of too many pixels.
    """
    if content.lstrip()[:1] == b"<":
        raise UnusableImageError("not an image but a page of text")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_formats())
        if image.width * image.height > MAX_PIXELS:
            raise UnusableImageError("too many pixels")
        image.draft("RGB", (2 * at_least, 2 * at_least))
        image.load()
        return _to_rgb(_upright(image))
    except UnusableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusableImageError("too many pixels") from None
    except Exception:  # a broken file may raise whatever its decoder did not think of
        raise UnusableImageError("not an image that can be decoded") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken notes on a picture that is whole
        return image


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which a plain conversion would cut off at 255
        grey = np.asarray(image).astype(np.float64)
        image = Image.fromarray((grey * (255 / max(grey.max(), 255))).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def thumbnail(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """A picture scaled to size x size, as (3 * size * size,) uint8: all red, green, blue."""
    scaled = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(scaled, dtype=np.uint8).transpose(2, 0, 1).reshape(-1).copy()


def read_pictures(
    sources: Sequence[Source],
    folder: Path,
    *,
    key: Callable[[bytes], bytes],
    known: Callable[[bytes], bool],
    prepare: Callable[[Image.Image], NDArray[Any]],
    at_least: int,
) -> Iterator[list[Picture]]:
    """Sources to pictures, in their order, a chunk at a time.

    Args:
        sources: what to read.
        folder: where relative paths start.
        key: of a content.
        known: whether what is made of the content with a key is there already, so that it need not
            be decoded.
        prepare: from a decoded picture to its pixels.
        at_least: pixels a side that `prepare` needs.
    """

    def read(source: Source) -> Picture:
        name = b""
        try:
            content = fetch(source, folder)
            name = key(content)
            if known(name):
                return Picture(name, None, None)
            return Picture(name, prepare(decode(content, at_least=at_least)), None)
        except UnusableImageError as error:
            return Picture(name, None, str(error))

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(sources), AT_ONCE):
            # Pillow warns of what lies between its limit and twice that; here that is an error.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                chunk = list(pool.map(read, sources[start : start + AT_ONCE]))
            yield chunk


@dataclass(frozen=True)
class ImageProblems:
    """The rows of a column whose picture cannot be used."""

    rows: tuple[int, ...]
    names: tuple[str, ...]
    reasons: tuple[str, ...]
    total: int

    def __bool__(self) -> bool:
        return bool(self.rows)

    def words(self, column: str, file: str | None = None) -> str:
        """How many, the first three, and why."""
        first = [
            f"{name} ({reason})"
            for name, reason in list(zip(self.names, self.reasons, strict=True))[:3]
        ]
        more = ", ..." if len(self.rows) > 3 else ""
        return explain(
            f"{len(self.rows):,} of {self.total:,} images cannot be used and are treated as "
            f"missing: {', '.join(first)}{more}",
            file=file,
            column=column,
        )


def named(source: Source) -> str:
    """A source in words: its path, or how many bytes it has."""
    return shorten(source) if isinstance(source, str) else f"{len(source):,} bytes"
