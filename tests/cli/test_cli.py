"""The command line as a person uses it: real processes, real files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from tests.processes import Program, twotower
from twotower.data.synthetic.shop import generate, write

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "300",
    "NO_COLOR": "1",
}


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run(*arguments: str | Path) -> Done:
    done = twotower(*arguments, environment=ENVIRONMENT)
    return Done(done.returncode, done.stdout, done.stderr)


def start(arguments: Sequence[str], printed: Path) -> Program:
    """A command that goes on; what it prints is in a file."""
    return Program(arguments, environment=ENVIRONMENT, out=printed, err=printed)


def run_json(*arguments: str | Path) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=300, num_items=150, num_interactions=6000)
    (folder / "twotower.toml").write_text(write(catalogue, folder), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bundle(shop: Path) -> Path:
    done = run(
        "train", shop / "twotower.toml", "--out", shop / "bundle", "--set", "training.epochs=3"
    )
    assert done.code == 0, done.err
    assert "Held-out interactions, ranked among 150 items" in done.out
    assert f"twotower recommend {shop / 'bundle'} --user u" in done.out
    assert "epoch   3" in done.err
    return shop / "bundle"


def test_train_leaves_a_log_and_no_checkpoint(bundle: Path) -> None:
    run_folder = bundle.with_name("bundle.run")
    assert sorted(p.name for p in run_folder.iterdir()) == [
        "result.json",
        "training.jsonl",
        "writer",
    ]
    lines = (run_folder / "training.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_evaluate(bundle: Path) -> None:
    found = run_json("evaluate", bundle, "--k", "5")
    assert list(found)[:8] == [
        "protocol",
        "candidates",
        "stages",
        "k",
        "num_queries",
        "num_items",
        "metrics",
        "slices",
    ]
    assert found["protocol"] == "full_catalog"
    assert list(found["metrics"]) == ["recall@5", "ndcg@5", "hit@5", "mrr@5"]
    assert list(found["slices"]) == ["warm", "cold_user", "cold_item", "both_cold"]
    assert sum(found["paths"].values()) == found["num_queries"]
    trained = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["metrics"]
    assert run_json("evaluate", bundle)["metrics"] == trained["metrics"]


def test_a_log_gets_whole_lines(shop: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "twotower", "train", str(shop / "twotower.toml")),
            *("--out", str(tmp_path / "bundle"), "--set", "training.epochs=2"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in ENVIRONMENT.items() if name != "COLUMNS"},
    )
    epochs = [line for line in done.stderr.splitlines() if line.startswith("training: epoch")]
    assert len(epochs) == 2
    assert all("ndcg@10" in line and "examples/s" in line for line in epochs)
    assert epochs[0].endswith(" s left")
    notes = done.stderr.splitlines()
    assert "Notes on data:" in notes
    assert "  - No leak by time: every test row is later than every training row." in notes
    assert all(len(line) > 80 for line in epochs)
    lines = done.stdout.splitlines()
    assert all(len(line) < 200 for line in lines if line.startswith("│"))
    title = next(line for line in lines if "Held-out interactions" in line)
    assert title.strip() == "Held-out interactions, ranked among 150 items"
    assert any(line.startswith("recall@10 = ") and line.endswith("of 150.") for line in lines)


def test_recommend(bundle: Path, shop: Path) -> None:
    known = pl.read_parquet(shop / "interactions.parquet")["user_id"][0]
    found = run_json("recommend", bundle, "--user", known, "--k", "4")
    assert (found["user_id"], found["path"], found["live"]) == (known, "known", True)
    assert len(found["items"]) == 4
    item = found["items"][0]
    assert set(item) == {"item_id", "score", "reason", "reason_code", "reason_parameters"}
    assert item["reason"].startswith("Similar to ")
    assert item["reason_code"] == "similar_to_history"
    shown = run("recommend", bundle, "--user", known, "--k", "4")
    assert f"For user {known} (path: known)" in shown.out
    diverse = run_json("recommend", bundle, "--user", known, "--k", "4", "--diversity", "1")
    assert diverse["items"][0] == found["items"][0]
    assert diverse["items"] != found["items"]
    nobody = run_json("recommend", bundle, "--user", "nobody")
    assert (nobody["path"], len(nobody["items"])) == ("popular", 10)


def test_recommend_all(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    found = run_json("recommend", bundle, "--all-users", "--out", file, "--k", "3")
    frame = pl.read_parquet(file)
    assert found["rows"] == len(frame) == 3 * 300
    assert frame.columns == ["user_id", "rank", "item_id", "score", "path"]
    one = frame.filter(pl.col("user_id") == "u00007").sort("rank")
    alone = run_json("recommend", bundle, "--user", "u00007", "--k", "3")
    assert one["item_id"].to_list() == [item["item_id"] for item in alone["items"]]


def test_similar(bundle: Path) -> None:
    found = run_json("similar", bundle, "--item", "i00003", "--k", "2")
    assert found["item_id"] == "i00003"
    assert len(found["items"]) == 2
    assert "i00003" not in [item["item_id"] for item in found["items"]]
    missing = run("similar", bundle, "--item", "i0003")
    assert (missing.code, missing.out) == (1, "")
    assert "no such item, did you mean 'i00" in missing.err
    assert "Traceback" not in missing.err


def test_doctor() -> None:
    found = run_json("doctor")
    assert found["torch"]
    assert found["python"].startswith("3.")
    assert "twotower" in run("doctor").out


def test_init_check_train_on_a_csv_of_ones_own(tmp_path: Path) -> None:
    catalogue = generate(num_users=80, num_items=40, num_interactions=700)
    catalogue.interactions.rename({"user_id": "customer", "item_id": "sku"}).write_csv(
        tmp_path / "clicks.csv"
    )
    done = run("init", tmp_path / "shop", "--interactions", tmp_path / "clicks.csv")
    assert done.code == 0, done.err
    config = tmp_path / "shop" / "twotower.toml"
    assert f"twotower check {config}" in done.out
    checked = run("check", config)
    assert checked.code == 0, checked.out + checked.err
    trained = run("train", config, "--out", tmp_path / "bundle", "--set", "training.epochs=1")
    assert trained.code == 0, trained.err


def test_check_names_problems_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "twotower.toml").write_text('[data]\ninteractions = "no.csv"\n', encoding="utf-8")
    done = run("check", tmp_path / "twotower.toml")
    assert done.code == 1
    assert "no such file" in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend", "bundle"),
        ("recommend", "bundle", "--user", "u", "--all-users"),
        ("recommend", "bundle", "--user", "u", "--diversity", "2"),
        ("recommend", "bundle", "--all-users"),
        ("recommend", "bundle", "--user", "u", "--k", "0"),
        ("train", "twotower.toml"),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("train", "no.toml", "--out", "b"), "no.toml: no such config file."),
        (("evaluate", "no-bundle"), "no-bundle: no such bundle."),
        (("recommend", "no-bundle", "--user", "u"), "no-bundle: no such bundle."),
    ],
)
def test_bad_input_exits_1_with_a_message(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {text}")
    assert "Traceback" not in done.err


def test_an_error_in_a_log_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / ("a long name " * 12) / "shop.toml"
    done = twotower("evaluate", missing, environment={**ENVIRONMENT, "COLUMNS": "40"})
    assert str(missing) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_interrupting_training_keeps_the_best_and_resume_goes_on(
    shop: Path, tmp_path: Path
) -> None:
    command = ["train", str(shop / "twotower.toml"), "--out", str(tmp_path / "b")]
    command += ["--set=training.epochs=400", "--set=training.patience=400"]
    command += ["--set=training.learning_rate=0.0001"]
    process = start(command, tmp_path / "first")
    log = tmp_path / "b.run" / "training.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, err = process.wait(60), (tmp_path / "first").read_text(encoding="utf-8")
    assert code == 0, err
    assert (tmp_path / "b" / "manifest.json").exists()
    assert "note: Interrupted; kept the weights of epoch" in err
    other = run(*command, "--set", "training.batch_size=32", "--resume")
    assert other.code == 1
    assert "the interrupted run had training.batch_size = " in other.err
    before = len(log.read_text(encoding="utf-8").splitlines())
    assert before < 400
    assert (tmp_path / "b.run" / "fit").is_dir()

    process = start([*command, "--resume"], tmp_path / "second")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(log.read_text().splitlines()) < before + 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, err = process.wait(60), (tmp_path / "second").read_text(encoding="utf-8")
    assert code == 0, err
    assert "resuming after epoch" in err
    epochs = [json.loads(line)["epoch"] for line in log.read_text(encoding="utf-8").splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))


def test_demo(tmp_path: Path) -> None:
    done = run("demo", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    assert "upper bound" in done.out
    assert "The two-tower is" in done.out
    assert "Next:" in done.out
    manifest = json.loads((tmp_path / "demo" / "bundle" / "manifest.json").read_text("utf-8"))
    recorded = manifest["metrics"]
    # What the studio shows beside the figures of the model.
    assert set(recorded["baselines"]) == {"popularity", "matrix_factorization"}
    for name in ("popularity", "matrix_factorization"):
        ndcg = recorded["baselines"][name]["ndcg@10"]
        assert ndcg < recorded["metrics"]["ndcg@10"]
        assert re.search(rf"{name.replace('_', ' ')} .* {ndcg:.3f} ", done.out)


@pytest.mark.real_data
def test_reviews_as_they_come(real_data: Path, tmp_path: Path) -> None:
    """The commands of docs/importing.md."""
    reviews = real_data / "amazon-musical-instruments" / "reviews.parquet"
    config, bundle = tmp_path / "shop" / "twotower.toml", tmp_path / "bundle"
    assert run("init", tmp_path / "shop", "--interactions", reviews).code == 0
    checked = run("check", config)
    assert "7,307 training, 812 validation, 903 test rows" in checked.out
    assert checked.code == 0
    done = run("train", config, "--out", bundle, "--set", "training.epochs=3")
    assert done.code == 0, done.err
    evaluation = run_json("evaluate", bundle)
    assert evaluation["num_queries"] == 340
    assert evaluation["paths"]["history"] == 32
    answer = run_json("recommend", bundle, "--user", "A14VAT5EAX3D9S")
    assert answer["live"] is True
    assert len(answer["items"]) == 10


def test_add_items(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    columns = pl.read_parquet(copy / "items.parquet").columns
    new = pl.read_parquet(copy / "items.parquet").filter(pl.col("genres").is_not_null()).head(2)
    new = new.with_columns(pl.Series("item_id", ["new1", "new2"])).select(columns)
    new.write_parquet(tmp_path / "new.parquet")
    before = run_json("evaluate", copy)["num_items"]
    added = run_json("add-items", copy, tmp_path / "new.parquet")
    more = tmp_path / "bundle-2"
    assert added["bundle"] == str(more.resolve())
    assert {name: added[name] for name in ("items", "vectors", "catalogue")} == {
        "items": 2,
        "vectors": 2,
        "catalogue": before + 2,
    }
    assert [i["item_id"] for i in run_json("similar", more, "--item", "new1")["items"]]
    assert run_json("evaluate", copy)["num_items"] == before
    again = run("add-items", more, tmp_path / "new.parquet")
    assert again.code == 1
    assert "2 of 2 items are in the catalogue already" in again.err
    assert "Traceback" not in again.err


COMPARE = (
    "--set=training.epochs=2",
    "--set=compare.trials=2",
    "--set=compare.isolate=false",
    "--set=compare.resamples=200",
)


def test_compare(shop: Path, tmp_path: Path) -> None:
    command = ("compare", shop / "twotower.toml", "--models", "popularity, ials", *COMPARE)
    found = run_json(*command, "--out", tmp_path / "c")
    assert list(found)[:4] == ["verdict", "protocol", "candidates", "k"]
    assert [model["name"] for model in found["models"]][-1] == "popularity"
    assert found["reference"] == "ials"
    shown = run(*command, "--out", tmp_path / "c")
    assert (shown.code, shown.out.count("iALS")) == (0, 1 + found["verdict"].count("iALS"))
    assert f"Wrote {tmp_path / 'c' / 'report.html'}." in shown.out
    assert "iALS: already finished" in shown.err
    unknown = run("compare", shop / "twotower.toml", "--models", "als", "--out", tmp_path / "d")
    assert (unknown.code, unknown.out) == (1, "")
    assert "error: unknown model 'als', did you mean 'ials'?" in unknown.err


@pytest.mark.slow
def test_interrupting_a_comparison_keeps_what_is_finished(shop: Path, tmp_path: Path) -> None:
    command = (
        "compare",
        shop / "twotower.toml",
        "--models=popularity,two_tower_ids",
        *COMPARE[1:2],
        "--set=training.epochs=60",
        "--set=training.patience=60",
        "--out",
        tmp_path / "c",
    )
    trials = tmp_path / "c" / "two_tower_ids" / "trials.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "twotower", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not trials.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Only popularity was evaluated" in out
    assert "Interrupted before softmax MF; run the same command again to continue." in out
    assert "Traceback" not in err
    first = trials.read_text(encoding="utf-8").splitlines()[0]
    went_on = run(*command, "--json")
    assert went_on.code == 0, went_on.err
    document = json.loads(went_on.out)
    assert {model["name"] for model in document["models"]} == {"popularity", "two_tower_ids"}
    assert document["not_run"] == []
    assert trials.read_text(encoding="utf-8").splitlines()[0] == first
