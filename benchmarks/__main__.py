"""`python -m benchmarks` lists the benchmarks."""

from __future__ import annotations

import ast
from pathlib import Path

HELPERS = {
    "__init__",
    "__main__",
    "cold_baselines",
    "common",
    "ncf_protocol",
    "planted",
    "readme",
    "retrieval",
    "robust_cells",
    "robust_models",
    "robust_report",
}


def main() -> None:
    """Print each benchmark with the first line of its docstring."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in HELPERS:
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"python -m benchmarks.{path.stem:<16} {text.splitlines()[0]}")


if __name__ == "__main__":
    main()
