"""Information for bug reports: versions, device, threads, optional extras."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import psutil
import torch

from twotower._version import __version__

LIBRARIES = (
    "torch",
    "polars",
    "pyarrow",
    "numpy",
    "scipy",
    "faiss-cpu",
    "safetensors",
    "sqlalchemy",
)
EXTRAS = {
    "delta": "deltalake",
    "iceberg": "pyiceberg",
    "image": "transformers",
    "map": "opentsne",
    "milvus": "pymilvus",
    "otel": "opentelemetry-sdk",
    "pgvector": "pgvector",
    "postgres": "psycopg",
    "ray": "ray",
    "text": "sentence-transformers",
}


def diagnose() -> dict[str, Any]:
    """Name -> value, ready for JSON."""
    return {
        "twotower": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in LIBRARIES},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "device": _device(),
        **{
            f"extra {extra}": _version(package) or f"not installed: pip install 'twotower[{extra}]'"
            for extra, package in EXTRAS.items()
        },
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> str:
    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"
