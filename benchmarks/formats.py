"""Public formats: how many `init`, `check`, `train` and `evaluate` run on; about a minute.

Made-up rows in the shape of each set, see `benchmarks/public_formats/`. Counted are formats that
are read as they are, those that need the one edit that a message asks for, those that are not a
table of interactions and are refused with the cause, and those that went wrong.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import arguments, emit
from benchmarks.public_formats import FORMATS
from benchmarks.public_formats.expectation import Format
from benchmarks.public_formats.running import run_format


def measure(make: Format) -> dict[str, Any]:
    """What one format came to."""
    with tempfile.TemporaryDirectory() as folder:
        result = run_format(make, Path(folder))
        found: dict[str, Any] = {"outcome": result.outcome}
        if result.message:
            found["message"] = result.message.replace(f"{folder}/", "")
        if result.faults:
            found["faults"] = [fault.replace(f"{folder}/", "") for fault in result.faults]
    return found


def main() -> None:
    """Run all formats, print one JSON object."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    start = time.perf_counter()
    formats = {make.__name__: measure(make) for make in FORMATS}
    counts = Counter(found["outcome"] for found in formats.values())
    emit(
        {
            "protocol": "made-up rows in the shape of each set; init, check, train for an epoch, "
            "evaluate; columns, threshold, features and rows held against what is right",
            "formats": len(formats),
            **{name: counts[name] for name in ("as_it_is", "one_edit", "refused", "wrong")},
            "seconds": round(time.perf_counter() - start, 1),
            "results": formats,
        },
        "formats",
        save=options.save,
    )


if __name__ == "__main__":
    main()
