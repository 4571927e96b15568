"""What every benchmark prints beside its figures, and how it is started."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

import twotower

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "polars", "numpy", "faiss-cpu")


def machine() -> dict[str, Any]:
    """The machine that a figure was measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """The versions that a figure was measured with."""
    return {
        "twotower": twotower.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def emit(result: dict[str, Any], name: str, *, save: bool) -> None:
    """Print one JSON object; with `save`, also keep it in `benchmarks/results/NAME.json`."""
    print(_text(result, name))
    if save:
        keep(result, name)


def keep(result: dict[str, Any], name: str) -> None:
    """Keep a result in `benchmarks/results/NAME.json`; a half of it, too, is worth keeping."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(_text(result, name) + "\n", encoding="utf-8")


def _text(result: dict[str, Any], name: str) -> str:
    document = {"benchmark": name, **result, "machine": machine(), "versions": versions()}
    return json.dumps(document, indent=1, ensure_ascii=False)


def saved(name: str) -> dict[str, Any]:
    """What `emit` has kept under a name; empty where it has kept nothing."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def saved_alike(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """What `emit` has kept under a name with the same configuration, machine and versions; empty
    where it has not."""
    document = saved(name)
    now = {"configuration": configuration, "machine": machine(), "versions": versions()}
    return document if all(document.get(key) == now[key] for key in now) else {}


def over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tables of figures, alike in their keys, to one that has `mean` and `deviation` in place of
    each figure: over seeds, cuts or shops. The deviation is that of a sample, 0 of a single run."""
    return {name: _over([run[name] for run in runs]) for name in runs[0]}


def _over(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return over_runs(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 6), "deviation": round(deviation, 6)}


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--help` and `--save`, which all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--save", action="store_true", help="keep the JSON in benchmarks/results/")
    return made


def arguments(description: str | None, *, overrides: bool = False) -> argparse.Namespace:
    """The arguments of a benchmark that has no others; `overrides` adds `--set KEY=VALUE`."""
    made = parser(description)
    if overrides:
        made.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="SECTION.KEY=VALUE",
            help="override a key of the config",
        )
    return made.parse_args()


def data_folder(name: str) -> Path:
    """The folder of a research data set: in TWOTOWER_DATA, or in `shared/data` beside the
    repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TWOTOWER_DATA", default)) / name
    if not folder.is_dir():
        sys.exit(f"no data set at {folder}: set TWOTOWER_DATA to the folder of the data sets")
    return folder


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
