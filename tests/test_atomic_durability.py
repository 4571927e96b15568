"""Whatever writes files: each is synced before it gets its name and its folder afterwards, and a
process that is killed in between leaves the old file or the new one, whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.disk_order import run_recorded
from tests.web.bundles import train_shop, write_shop

SOURCE = Path(__file__).resolve().parents[1] / "src" / "twotower"

SAVE = """
from twotower.serving.answer.recommender import Recommender
Recommender.load(folder / "made").save(folder / "bundle")
"""
WRITERS = {
    "pointer": """
from twotower.serving.live.versions import Pool
Pool(folder).point("MARK")
""",
    "text": """
from twotower.atomic import write_text
write_text(folder / "result.json", "MARK" * 1000)
""",
    "folder": """
from twotower.atomic import write_folder
def fill(aside):
    (aside / "deep").mkdir()
    (aside / "deep" / "a.txt").write_text("MARK")
    return {"format": 1}
write_folder(folder / "bundle", fill)
""",
    "checkpoint": """
import torch
from twotower.training.checkpoint import Progress, save_checkpoint
state = {"MARK": torch.zeros(3)}
save_checkpoint(
    folder / "checkpoint", {"weights": state, "optimizer": state}, progress=Progress(),
    fingerprint="MARK",
)
""",
    "signature": """
from twotower.serving.bundle.bundle import sign_bundle
sign_bundle(folder / "made", folder / "MARK.pem")
""",
    "table": """
import polars as pl
from twotower.workflow.table_file import table_file
with table_file(folder / "all.parquet") as write:
    write(pl.DataFrame({"user_id": ["MARK"]}))
""",
    "baseline": """
import numpy as np
from twotower.data.dataset.dataset import Dataset
from twotower.models.baselines.storage import write_baseline
train = Dataset.read(folder / "data" / "old.toml").train
write_baseline(
    folder / "baseline", {"name": "MARK"}, {"counts": np.zeros(3)}, train.users, train.items
)
""",
}
"""Programs that write; `MARK` is what tells the old content from the new one."""
ONCE = {
    "add-items": """
from twotower.workflow.add_items import add_items
add_items(folder / "made", str(folder / "more.parquet"), folder / "bundle")
""",
    "bundle": SAVE,
    "config": """
from twotower.workflow.setup.init import write_config
write_config(folder / "shop", str(folder / "MARK.csv"), None, None)
""",
    "cache": """
import numpy as np
os.environ["TWOTOWER_WORK"] = str(folder / "work")
from twotower.data.features.row_cache import RowCache
RowCache("rows", 4, np.float32).add([b"0" * 32], np.ones((1, 4), np.float32))
""",
    "keys": """
from twotower.serving.bundle.signing import new_key
new_key(folder / "own.pem")
""",
    "backup": """
from contextlib import closing
from twotower.serving.store.sqlite import open_sqlite
with closing(open_sqlite(folder / "events.sqlite")) as store:
    store.back_up(folder / "copy.db")
""",
    "synthetic shop": """
from twotower.data.synthetic.shop import generate, write
write(generate(num_users=60, num_items=40, num_interactions=500, seed=0), folder / "shop")
""",
    "log larger than memory": """
from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
config = load_config(folder / "data" / "old.toml", ["data.max_rows_in_memory=0"])
Dataset.read(config, work=folder / "work")
""",
    "training": """
import io
from rich.console import Console
from twotower.config import load_config
from twotower.workflow.training.train import train_bundle
config = load_config(folder / "data" / "old.toml", ["training.epochs=2"])
train_bundle(config, folder / "bundle", console=Console(file=io.StringIO()))
""",
    "comparison": """
from twotower.workflow.comparison.compare import compare
from twotower.config import load_config
config = load_config(folder / "data" / "old.toml", ["compare.isolate=false", "compare.trials=1"])
compare(config, folder / "comparison", models=["popularity"])
""",
    "export": """
from contextlib import closing
from twotower.serving.store.sqlite import open_sqlite
from twotower.serving.store.protocol import StoredEvent
from twotower.workflow.events.export_events import export_events
with closing(open_sqlite(folder / "events.sqlite")) as store:
    store.append([StoredEvent("1", "u1", "i1", 1)])
    export_events(store, folder / "out.csv", forgotten=folder / "gone.csv")
""",
}
"""Writers of files that are new, or that tell the time."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the writers need."""
    from twotower.serving.bundle.signing import new_key

    folder = tmp_path_factory.mktemp("made")
    (folder / "data").mkdir()
    config = write_shop(folder / "data")
    train_shop(config, folder / "made", "training.epochs=1")
    text = config.read_text(encoding="utf-8")
    (folder / "data" / "old.toml").write_text(text, encoding="utf-8")
    more = pl.read_parquet(folder / "data" / "items.parquet").head(1)
    more.with_columns(item_id=pl.lit("more")).write_parquet(folder / "more.parquet")
    for mark in ("old", "new"):
        (folder / mark).mkdir()
        (folder / mark / "manifest.json").write_text("{}", encoding="utf-8")
        rows = "\n".join(f"u{n % 7},{mark}{n % 5}" for n in range(100))
        (folder / f"{mark}.csv").write_text(f"user_id,item_id\n{rows}\n", encoding="utf-8")
        new_key(folder / f"{mark}.pem")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files that are not hidden."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    }


def hidden(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob(".*")]


@pytest.mark.parametrize("name", [*WRITERS, *ONCE])
@pytest.mark.slow
def test_files_are_synced_before_they_get_their_names(
    made: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "disk"
    shutil.copytree(made, folder)
    before = contents(folder)
    program = {**WRITERS, **ONCE}[name].replace("MARK", "new")
    order, ended = run_recorded(program, folder, tmp_path / "steps")
    assert ended.returncode == 0, ended.stderr
    changed = {file for file, content in contents(folder).items() if before.get(file) != content}
    assert any(not file.endswith(".sqlite") for file in changed)
    for file in before.keys() - changed:
        (folder / file).unlink()
    # The log of a training is appended to, epoch by epoch.
    order.assert_all_is_durable(folder, r"\.sqlite|^(training\.jsonl|writer)$")
    assert hidden(folder) == []


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_writer_that_is_killed_leaves_the_old_or_the_new_file(
    made: Path, tmp_path: Path, name: str
) -> None:
    first, second = (WRITERS[name].replace("MARK", mark) for mark in ("old", "new"))
    start, complete = tmp_path / "start" / "disk", tmp_path / "complete" / "disk"
    # The same path for all, as some files name theirs.
    folder = tmp_path / "disk"
    shutil.copytree(made, folder)
    assert run_recorded(first, folder, tmp_path / "steps")[1].returncode == 0
    shutil.copytree(folder, start)
    order, ended = run_recorded(second, folder, tmp_path / "steps")
    assert ended.returncode == 0, ended.stderr
    shutil.copytree(folder, complete)
    old, new = contents(start), contents(complete)
    assert old != new
    renames = sum(step[0] == "rename" for step in order.steps)
    assert renames
    for number in range(renames):
        for moment in ("before", "after"):
            shutil.rmtree(folder)
            shutil.copytree(start, folder)
            kill = f"{moment} {number}"
            _, ended = run_recorded(second, folder, tmp_path / "steps", kill=kill)
            assert ended.returncode == -9, (kill, ended.stderr)
            left = contents(folder)
            if left.keys() == old.keys():
                assert left in (old, new), kill
            else:  # between the two renames of a folder: the old one is beside it
                aside = next(path for path in folder.iterdir() if path.name.endswith(".old"))
                original = start / aside.name.removeprefix(".").removesuffix(".old")
                assert contents(aside) == contents(original), kill
            _, ended = run_recorded(second, folder, tmp_path / "steps")
            assert ended.returncode == 0, (kill, ended.stderr)
            assert contents(folder) == new, kill
            assert hidden(folder) == [], kill


WRITING = re.compile(
    r"\.(write_(text|bytes|parquet|csv|ipc|ndjson|table|image)|sink_\w+|to_(parquet|csv))\("
    r"|open\([^)]*[\"'][wax]b?\+?[\"']|\b(np|numpy)\.save\w*\(|\bsave_file\(|write_index\("
    r"|json\.dump\(|savefig\(|VACUUM INTO|\.save\(\w+ / "
)
INTO_ASIDE = re.compile(r"\baside\b")
WRITES = {
    "atomic.py": "this is the helper",
    "course/worker.py": "opens a lock, and writes nothing",
    "data/arrays/workspace.py": "into files without a name, or a folder that is written aside",
    "data/dataset/fingerprint.py": "into memory, to be hashed",
    "data/dataset/kept_tables.py": "into the folder that is written aside",
    "data/features/row_cache.py": "into the open file that is written aside",
    "data/features/schema.py": "into the folder of a bundle that is written aside",
    "data/features/vocabulary.py": "into the folder of a bundle that is written aside",
    "index/database_index.py": "into the folder of a bundle that is written aside",
    "index/exact.py": "into the folder of a bundle that is written aside",
    "index/faiss_index.py": "into the folder of a bundle that is written aside",
    "lessons/running.py": "into memory",
    "serving/bundle/bundle.py": "into the folder of a bundle that is written aside",
    "serving/bundle/candidate_blend.py": "into the folder of a bundle that is written aside",
    "serving/bundle/ncf_stage.py": "into the folder of a bundle that is written aside",
    "serving/bundle/signing.py": "into the file that is written aside, opened for its owner alone",
    "parallel/started.py": "into a file that a process of the same run reads and removes",
    "training/monitor.py": "a line is appended to the log of a training",
    "training/sharded_files.py": "into the folder of a checkpoint that is written aside",
    "web/studio/share.py": "in the text of a notebook, into a folder of its own",
    "workflow/cluster/recommendations.py": "a copy in a temporary folder, renamed when it is whole",
    "workflow/comparison/cluster_models.py": "into a temporary folder, kept by the first machine",
    "workflow/comparison/run_contender.py": "resets a counter of the system",
    "workflow/table_file.py": "into the open file that is written aside",
}
"""Files that write, and why that is not by `replace_file` or `replace_folder` in the same line."""


def test_files_are_written_by_the_helper_alone() -> None:
    found: dict[str, list[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if WRITING.search(line) and not INTO_ASIDE.search(line):
                found.setdefault(str(file.relative_to(SOURCE)), []).append(line.strip())
    assert found.keys() == WRITES.keys(), {
        name: lines for name, lines in found.items() if name not in WRITES
    }
