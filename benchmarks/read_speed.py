"""10 million synthetic interactions from Parquet to numbered arrays; about half a minute.

A child process reads the file as `twotower train` does (columns, checks, duplicates, split,
vocabularies, numbering), so that its peak memory is that of reading alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import emit, parser
from twotower.data.synthetic.shop import generate_interactions

READ = """
import json, resource, sys, time
from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
start = time.perf_counter()
dataset = Dataset.read(parse_config({"data": {"interactions": sys.argv[1]}}))
seconds = time.perf_counter() - start
rows = sum(len(part) for part in dataset.split())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps({"seconds": round(seconds, 2), "peak_memory_gb": round(peak, 2),
                  "rows_kept": rows, "rows_per_second": round(rows / seconds)}))
"""


def main() -> None:
    """Write the file, read it, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=10_000_000)
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interactions.parquet"
        generate_interactions(
            options.rows, max(100, options.rows // 50), max(100, options.rows // 200), seed=0
        ).write_parquet(path)
        found = subprocess.run(
            [sys.executable, "-c", READ, str(path)], check=True, capture_output=True, text=True
        )
        size = path.stat().st_size
    emit(
        {
            "protocol": "Parquet to numbered arrays in a process of its own",
            "rows": options.rows,
            "file_mb": round(size / 1e6, 1),
            **json.loads(found.stdout),
        },
        "read_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
