"""Pictures: what can be used is read once, what cannot is counted and missing, never fatal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.content import png, vision_model, work
from twotower.config import load_config
from twotower.data.features import image_files as pictures
from twotower.data.features.image_files import UnusableImageError, decode
from twotower.data.features.pretrained import load_vision_model, plain_preparation
from twotower.errors import ConfigError, DataError
from twotower.features import image as image_type
from twotower.features.image import ImageConfig, ImageFeature
from twotower.workflow.setup.check import check

__all__ = ["work"]

RED, WHITE, BLACK = [255, 0, 0], [255, 255, 255], [0, 0, 0]


def image(**config: Any) -> ImageFeature:
    entry = ImageConfig.model_validate({"type": "image", "size": 8, **config})
    feature = entry.fit("cover", pl.Series("cover", [None]))
    assert isinstance(feature, ImageFeature)
    return feature


def colours(encoded: np.ndarray[Any, Any]) -> list[list[int] | None]:
    """The first pixel of each row's thumbnail, None where it is missing."""
    pixels = encoded[:, :-1].reshape(len(encoded), 3, -1)[:, :, 0].tolist()
    return [
        None if missing else pixel for pixel, missing in zip(pixels, encoded[:, -1], strict=True)
    ]


def bomb(width: int, height: int) -> bytes:
    """A PNG file of some bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


# --- what can be read ---------------------------------------------------------------------------


def test_paths_urls_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(png("red"))
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "c.jpg").write_bytes(png("white", kind="JPEG"))
    url = (tmp_path / "a b.png").as_uri()
    feature = image(folder=str(tmp_path))
    encoded = feature.encode(pl.Series([url, "covers/c.jpg", None, "a b.png", ""]))
    assert encoded.dtype == np.uint8
    assert encoded.shape == (5, 3 * 8 * 8 + 1)
    assert colours(encoded) == [RED, WHITE, None, RED, None]
    cells = pl.Series([png("red"), None, png("white", kind="GIF"), b""])
    assert colours(feature.encode(cells)) == [RED, None, WHITE, None]
    assert not feature.encode(cells)[1, :-1].any()


def test_relative_paths_start_in_the_working_folder_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    monkeypatch.chdir(tmp_path)
    assert colours(image().encode(pl.Series(["a.png"]))) == [RED]


def test_the_folder_of_a_config_is_that_of_the_sides_file(tmp_path: Path) -> None:
    (tmp_path / "twotower.toml").write_text(
        '[data]\ninteractions = "log.csv"\nitems = "goods/items.csv"\n'
        '[features.item.cover]\ntype = "image"\n'
        '[features.item.back]\ntype = "image"\nfolder = "scans"\n'
        '[features.user.face]\ntype = "image"\n'
    )
    features = load_config(tmp_path / "twotower.toml").features
    assert features.item["cover"].folder == str(tmp_path / "goods")  # type: ignore[union-attr]
    assert features.item["back"].folder == str(tmp_path / "scans")  # type: ignore[union-attr]
    assert features.user["face"].folder == str(tmp_path)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 255, WHITE),
        ("1", 1, WHITE),
        ("P", 0, BLACK),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("LA", (0, 0), WHITE),
        ("I;16", 65_535, WHITE),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: Any, expected: list[int]) -> None:
    file = io.BytesIO()
    Image.new(mode, (9, 9), colour).save(file, format="PNG")
    assert colours(image().encode(pl.Series([file.getvalue()]))) == [expected]


def test_a_thumbnail_is_red_then_green_then_blue_row_by_row() -> None:
    left_red = Image.new("RGB", (16, 16), "blue")
    left_red.paste((255, 0, 0), (0, 0, 8, 16))
    file = io.BytesIO()
    left_red.save(file, format="PNG")
    planes = image().encode(pl.Series([file.getvalue()]))[0, :-1].reshape(3, 8, 8)
    assert (planes[0, :, :3] == 255).all()
    assert (planes[2, :, 5:] == 255).all()
    assert not planes[1].any()
    assert not planes[0, :, 5:].any()


def test_pictures_are_turned_upright() -> None:
    picture, notes = Image.new("RGB", (16, 8)), Image.Exif()
    notes[0x0112] = 6  # taken with the camera on its side
    file = io.BytesIO()
    picture.save(file, format="JPEG", exif=notes)
    assert decode(file.getvalue(), at_least=8).size == (8, 16)


# --- what cannot --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "not an image but a page of text"),
        (b"\n <svg xmlns='...'/>", "not an image but a page of text"),
        (b"GIF89a", "not an image that can be decoded"),
        (b"whatever", "not an image that can be decoded"),
        (png("red")[:-30], "not an image that can be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be decoded"),
        (bomb(9_000, 9_000), "too many pixels"),
        (bomb(10_000, 10_000), "too many pixels"),
        (bomb(60_000, 60_000), "too many pixels"),
    ],
)
def test_why_a_content_cannot_be_used(content: bytes, reason: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        decode(content, at_least=8)
    assert str(caught.value) == reason


@settings(deadline=None)
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"GIF89a", b"BM", b"\xff\xd8\xff", png("red")])
)
def test_no_bytes_are_fatal(tail: bytes, head: bytes) -> None:
    with contextlib.suppress(UnusableImageError):
        assert decode(head[: len(tail) + 9] + tail, at_least=8).mode == "RGB"


def test_what_cannot_be_used_is_counted_told_and_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    (tmp_path / "page.png").write_bytes(b"<html>")
    (tmp_path / "folder.png").mkdir()
    feature = image(folder=str(tmp_path))
    column = pl.Series("cover", ["page.png", "a.png", None, "b.png", "folder.png", "b.png"])
    with caplog.at_level(logging.WARNING, "twotower"):
        encoded = feature.encode(column, file="items.csv")
    assert colours(encoded) == [None, RED, None, None, None, None]
    assert [record.getMessage() for record in caplog.records] == [
        "items.csv, column 'cover': 4 of 5 images cannot be used and are treated as missing: "
        "'page.png' (not an image but a page of text), 'b.png' (no such file), 'folder.png' (no "
        "such file), ..."
    ]


def test_bytes_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "twotower"):
        encoded = image().encode(pl.Series("cover", [png("red"), b"abc", bomb(60_000, 60_000)]))
    assert colours(encoded) == [RED, None, None]
    assert "2 of 3 images" in caplog.text
    assert "3 bytes (not an image that can be decoded), " in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert colours(image(folder=str(tmp_path)).encode(pl.Series(["pipe.png"]))) == [None]


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    feature = image(folder=str(tmp_path))
    cells = ["a\0b.png", "x" * 5000, "file://[", "file:///%00"]
    assert colours(feature.encode(pl.Series(cells))) == [None] * 4


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    monkeypatch.setattr(pictures, "MAX_BYTES", 20)
    feature = image(folder=str(tmp_path))
    _, problems = feature.read(pl.Series("cover", ["a.png"]))
    assert problems.reasons == ("too large a file",)
    assert feature.read(pl.Series("cover", [png("red")]))[1].reasons == ("too large a file",)


@pytest.mark.parametrize("url", ["http://shop.example/a.png", "HTTPS://shop.example/a.png"])
def test_web_addresses_are_refused(url: str) -> None:
    column = pl.Series("cover", [None, url])
    message = (
        "items.csv, row 2, column 'cover': is an address on the web, and images are not fetched "
        f"from there (found {url!r}). Fix: download the files first, and write their paths."
    )
    with pytest.raises(DataError) as caught:
        image().encode(column, file="items.csv")
    assert str(caught.value) == message
    with pytest.raises(DataError) as caught:
        ImageConfig(type="image").check(column, file="items.csv")
    assert str(caught.value) == message


def test_a_column_of_something_else() -> None:
    with pytest.raises(DataError) as caught:
        ImageConfig(type="image").check(pl.Series("cover", [1]), file="items.csv")
    assert str(caught.value) == (
        "items.csv, column 'cover': is declared as an image, but holds values of type Int64. "
        "Fix: write paths of image files, or their bytes."
    )


@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Binary])
def test_zero_rows(dtype: Any) -> None:
    assert image().encode(pl.Series([], dtype=dtype)).shape == (0, 193)


# --- the cache ----------------------------------------------------------------------------------


def test_each_content_is_decoded_once(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def counted(content: bytes, *, at_least: int) -> Image.Image:
        decoded.append(content)
        return decode(content, at_least=at_least)

    monkeypatch.setattr(pictures, "decode", counted)
    monkeypatch.setattr(pictures, "AT_ONCE", 1)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png("red"))
    feature = image(folder=str(tmp_path))
    first = feature.encode(pl.Series(["a.png", "b.png", "a.png"]))
    assert len(decoded) == 1
    assert colours(feature.encode(pl.Series([png("red")]))) == [RED]
    assert len(decoded) == 1
    assert [path.name for path in work.iterdir()] == ["thumbnails-8.npy"]
    (tmp_path / "a.png").write_bytes(png("white"))
    assert colours(feature.encode(pl.Series(["a.png", "b.png"]))) == [WHITE, RED]
    image(size=9).encode(pl.Series([png("red")]))
    assert len(decoded) == 3
    assert colours(first) == [RED, RED, RED]


# --- check --------------------------------------------------------------------------------------


def test_check_counts_what_is_missing(tmp_path: Path) -> None:
    days = [day * 86_400 for day in range(10)]
    rows = {"user_id": [1, 2] * 5, "item_id": [1, 1, 2, 2, 3] * 2, "timestamp": days}
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item_id": [1, 2, 3], "cover": ["a.png", "b.png", None]}).write_csv(
        tmp_path / "items.csv"
    )
    (tmp_path / "a.png").write_bytes(png("red"))
    (tmp_path / "twotower.toml").write_text(
        '[data]\ninteractions = "log.csv"\nitems = "items.csv"\n[data.split]\ntest_fraction = 0.3\n'
        '[features.item.cover]\ntype = "image"\n'
    )
    report = check(tmp_path / "twotower.toml")
    assert report.problems == ()
    assert report.facts["item.cover"] == "image, 66.7% of 3 rows, 2 distinct values"
    assert (
        f"{tmp_path / 'items.csv'}, column 'cover': 1 of 2 images cannot be used and are treated "
        "as missing: 'b.png' (no such file)." in report.notes
    )


# --- pretrained encoders ------------------------------------------------------------------------


def test_a_vision_model_reads_each_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = vision_model(tmp_path / "vit")
    entry = ImageConfig(type="image", encoder=encoder)
    feature = entry.fit("cover", pl.Series([None]))
    encoded = feature.encode(pl.Series([png("red"), None, png("blue"), png("red"), b"abc"]))
    assert encoded.shape == (5, 17)
    assert encoded[:, -1].tolist() == [0, 1, 0, 0, 1]
    assert not encoded[[1, 4], :-1].any()
    np.testing.assert_array_equal(encoded[0], encoded[3])
    assert abs(encoded[0] - encoded[2]).max() > 1e-4
    model = load_vision_model(encoder)
    pixels = model.prepare(Image.new("RGB", (40, 20), "red"))
    np.testing.assert_allclose(encoded[0, :-1], model.vectors([pixels])[0], atol=1e-5)

    def never(encoder: str) -> None:
        raise AssertionError("the model is not needed again")

    monkeypatch.setattr(image_type, "load_vision_model", never)
    again = entry.load("cover", feature.save())
    assert again == feature
    np.testing.assert_array_equal(again.encode(pl.Series([png("blue")]))[0], encoded[2])


def test_the_preparation_is_what_the_file_beside_the_model_says(tmp_path: Path) -> None:
    encoder = vision_model(tmp_path / "vit")
    settings = {
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    picture = Image.new("RGB", (40, 20), (255, 0, 51))
    ours = plain_preparation(settings)(picture)
    assert ours.shape == (3, 32, 32)
    np.testing.assert_allclose(ours[:, 0, 0], [1, -1, -0.6], atol=1e-6)
    np.testing.assert_allclose(load_vision_model(encoder).prepare(picture), ours, atol=1e-5)
    assert plain_preparation({"size": {"shortest_edge": 16}})(picture).shape == (3, 16, 16)
    assert plain_preparation({"size": 24})(picture).shape == (3, 24, 24)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    entry = ImageConfig(type="image", encoder=str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        entry.fit("cover", pl.Series([None]))
    assert f"the encoder {str(tmp_path)!r} cannot be loaded as a vision model of" in str(
        caught.value
    )
    assert "Fix: name a folder that holds such a model" in str(caught.value)
