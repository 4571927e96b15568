"""Sizes that the files of a bundle claim are compared with the files before memory is taken.

A checksum says that a file is as it was written, not that its writer meant well: a header of a few
bytes may ask for any amount of memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from numpy.lib import format as npy_format
from torch import nn

from twotower.atomic import MOST_JSON
from twotower.data.readers.claimed_sizes import check_parquet
from twotower.errors import BundleError, DataError, explain

ARROW_MAGIC: Final = b"ARROW1"
MOST_MESSAGE: Final = 1 << 20
"""Bytes of the metadata of a batch that are looked at."""
HEADER: Final = 8
"""Bytes of the length of a safetensors header."""
FIX: Final = "copy the bundle again from where you trust it, or train again"


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse a file that claims more than it has.

    Args:
        folder: the bundle.
        names: its files.

    Raises:
        BundleError: names the file and the sizes; a table would not fit into memory, or is out of
            proportion to its file.
        Exception: errors of libraries for files that are not of the format that their name says.
    """
    checks = {
        ".arrow": check_arrow,
        ".json": check_json,
        ".npy": check_npy,
        ".safetensors": check_safetensors,
    }
    for name in names:
        file = folder / name
        if file.suffix == ".parquet":
            try:
                check_parquet(file, file.stat().st_size, file)
            except DataError as error:
                raise BundleError(str(error)) from None
        elif file.suffix in checks:
            checks[file.suffix](file)


def check_json(file: Path) -> None:
    """Refuse a document that is out of all proportion."""
    found = file.stat().st_size
    if found > MOST_JSON:
        raise claims_too_much(file, found, MOST_JSON, "at most")


def check_npy(file: Path) -> None:
    """Refuse an array whose header speaks of more than the file has."""
    with file.open("rb") as stream:
        version = npy_format.read_magic(stream)
        read = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        shape, _, dtype = read[version](stream)
        there = file.stat().st_size - stream.tell()
    if dtype.hasobject:
        raise BundleError(explain("holds Python objects, which are not read", file=file, fix=FIX))
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != there or min(shape, default=0) < 0:
        raise claims_too_much(file, claimed, there)


def check_safetensors(file: Path) -> None:
    """Refuse tensors that are larger than the file."""
    found = file.stat().st_size
    header = tensors_of(file)
    data = found - HEADER - header.pop("", 0)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if end != data:
        raise claims_too_much(file, end, data)


def tensors_of(file: Path) -> dict[str, Any]:
    """Name -> entry of each tensor in a header, and "" -> bytes of the header itself."""
    found = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(HEADER), "little")
        if length > min(found - HEADER, MOST_JSON):
            raise claims_too_much(file, length, min(found - HEADER, MOST_JSON), "at most")
        entries: dict[str, Any] = json.loads(stream.read(length))
    entries.pop("__metadata__", None)
    return {**entries, "": length}


def check_arrow(file: Path) -> None:
    """Refuse compressed columns, which twotower does not write: their sizes are claims. Those of
    others have to be within the file, which the reader checks."""
    content = file.read_bytes()
    footer_end = len(content) - len(ARROW_MAGIC) - 4
    if not content.endswith(ARROW_MAGIC) or footer_end < 0:
        raise ValueError(f"{file.name} is not an Arrow file")
    footer = content[footer_end - number_at(content, footer_end) : footer_end]
    dictionaries, batches = (blocks_of(footer, slot) for slot in (2, 3))
    if dictionaries or any(is_compressed(content, start) for start in batches):
        raise BundleError(
            explain("has compressed columns, which no bundle has", file=file, fix=FIX)
        )


def blocks_of(footer: bytes, slot: int) -> list[int]:
    """Where the messages of a list in an Arrow footer begin in the file. The footer is a
    flatbuffer (a table: version, schema, dictionaries, batches), a block has 24 bytes."""
    place = field_at(footer, number_at(footer, 0), slot)
    if not place:
        return []
    first = place + number_at(footer, place)
    count = number_at(footer, first)
    starts = range(first + 4, first + 4 + 24 * count, 24)
    return [number_at(footer, start, width=8) for start in starts]


def is_compressed(content: bytes, start: int) -> bool:
    """Whether a message of an Arrow file names a compression of its batch."""
    has_mark = content[start : start + 4] == b"\xff" * 4
    message = content[start + (8 if has_mark else 4) :][:MOST_MESSAGE]
    header = field_at(message, number_at(message, 0), 2)  # version, header_type, header
    batch = header + number_at(message, header)
    return bool(field_at(message, batch, 3))  # length, nodes, buffers, compression


def field_at(content: bytes, table: int, slot: int) -> int:
    """Where a field of a flatbuffer's table is; 0 where it is left out."""
    fields = table - number_at(content, table, signed=True)
    place = fields + 4 + 2 * slot
    if place >= fields + number_at(content, fields, width=2):
        return 0
    offset = number_at(content, place, width=2)
    return table + offset if offset else 0


def number_at(content: bytes, place: int, *, width: int = 4, signed: bool = False) -> int:
    """A little-endian integer.

    Raises:
        ValueError: the place is outside.
    """
    if not 0 <= place <= len(content) - width:
        raise ValueError("an Arrow file has an offset outside of it")
    return int.from_bytes(content[place : place + width], "little", signed=signed)


def check_weights(model: nn.Module, file: Path) -> None:
    """Refuse weights that do not fit a model, which may be on the device `meta`: the sizes in a
    schema or a config are claims, too.

    Raises:
        BundleError: a tensor is missing or has another shape than the vocabularies ask for.
    """
    tensors = tensors_of(file)
    for name, tensor in model.state_dict().items():
        found = tensors.get(name)
        if found is None or list(found["shape"]) != list(tensor.shape):
            shape = "is missing" if found is None else f"has shape {tuple(found['shape'])}"
            raise BundleError(
                explain(
                    f"vocabularies and weights do not fit: tensor {name!r} {shape}, and the "
                    f"schema asks for {tuple(tensor.shape)}",
                    file=file,
                    fix="copy the bundle again, or train again",
                )
            )


def claims_too_much(file: Path, claimed: int, there: int, limit: str = "and it has") -> BundleError:
    """The error for a file whose header speaks of more, or less, than the file has."""
    return BundleError(
        explain(f"its header claims {claimed:,} bytes, {limit} {there:,}", file=file, fix=FIX)
    )
