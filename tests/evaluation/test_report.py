"""What an evaluation says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import ranking_metrics
from twotower.evaluation.report import Evaluation, explanations, render, summarise_slices
from twotower.evaluation.slices import SLICES, slice_relevant

RANKED = np.array([[2, 3], [4, 2]])
RELEVANT = Ragged.group(np.array([0, 0, 0, 1]), np.array([2, 2, -1, 5]), 2)
PARTS = slice_relevant(RELEVANT, np.array([True, True]), np.array([False, False, *[True] * 4]))
PER_SLICE = {name: ranking_metrics(RANKED, part, 2) for name, part in PARTS.items()}
PER_QUERY = ranking_metrics(RANKED, RELEVANT, 2)

EVALUATION = Evaluation(
    k=2,
    candidates="all",
    num_items=4_000,
    user_num=np.array([2, 3]),
    ranked=RANKED,
    per_query=PER_QUERY,
    metrics={name: float(values.mean()) for name, values in PER_QUERY.items()},
    per_slice=PER_SLICE,
    slices=summarise_slices(PARTS, PER_SLICE, 2),
    paths={"known": 2, "history": 0, "features": 0, "popular": 0},
    counts={
        "rows": 4,
        "users_unknown_to_training": 0,
        "rows_with_items_unknown_to_training": 1,
        "rows_with_items_outside_the_catalogue": 1,
        "rows_masked_as_seen": 0,
        "rows_not_among_the_candidates": 0,
    },
    beyond={"coverage@2": 0.25, "novelty@2": 3.0, "gini@2": 0.5},
    notes=("log[1].csv: 3 of 7 rows are not positive and were left out.",),
)


def text(evaluation: Evaluation) -> str:
    stream = StringIO()
    Console(file=stream, width=160).print(render(evaluation))
    return stream.getvalue()


def test_slices_count_distinct_items_and_have_no_metrics_when_empty() -> None:
    assert EVALUATION.slices["warm"] == {
        "num_queries": 2,
        "num_relevant": 2,
        "recall@2": 0.5,
        "ndcg@2": 0.5,
        "hit@2": 0.5,
        "mrr@2": 0.5,
    }
    assert EVALUATION.slices["cold_item"] == {
        "num_queries": 1,
        "num_relevant": 1,
        "recall@2": 0.0,
        "ndcg@2": 0.0,
        "hit@2": 0.0,
        "mrr@2": 0.0,
    }
    for name in ("cold_user", "both_cold"):
        assert EVALUATION.slices[name] == {
            "num_queries": 0,
            "num_relevant": 0,
            "recall@2": None,
            "ndcg@2": None,
            "hit@2": None,
            "mrr@2": None,
        }


def test_json() -> None:
    found = json.loads(json.dumps(EVALUATION.to_json(), allow_nan=False))
    assert list(found) == [
        "protocol",
        "candidates",
        "stages",
        "k",
        "num_queries",
        "num_items",
        "metrics",
        "slices",
        "paths",
        "counts",
        "beyond_accuracy",
        "notes",
        "ceiling",
        "cautions",
        "verdict",
        "baselines",
        "baseline_slices",
        "split",
        "baseline_settings",
    ]
    assert found["protocol"] == "full_catalog"
    assert (found["candidates"], found["stages"], found["k"]) == ("all", ["retrieve"], 2)
    assert (found["num_queries"], found["num_items"]) == (2, 4_000)
    assert list(found["metrics"]) == ["recall@2", "ndcg@2", "hit@2", "mrr@2"]
    assert found["metrics"]["recall@2"] == 0.25
    assert tuple(found["slices"]) == SLICES
    assert found["slices"]["cold_user"]["recall@2"] is None


def test_explanations() -> None:
    assert explanations(EVALUATION) == [
        "recall@2 = 0.250: of 100 items that users interacted with later, about 25 were among the "
        "top 2 of 4,000.",
        "Answer paths: 2 known. Catalog coverage: 25.0% of the items were recommended.",
        "Test rows with items that are not in the training data: 1; they count.",
        "Of these, rows with items outside the catalogue: 1; they count as misses.",
        "log[1].csv: 3 of 7 rows are not positive and were left out.",
    ]


def test_explanations_of_what_could_not_be_found() -> None:
    counts = EVALUATION.counts | {
        "users_unknown_to_training": 1_200,
        "rows_masked_as_seen": 30,
        "rows_not_among_the_candidates": 5,
    }
    lines = explanations(replace(EVALUATION, counts=counts))
    assert "Test users that are not in the training data: 1,200; their queries count." in lines
    assert (
        "Test rows that repeat an item that the user had already seen, which is masked: 30; they "
        "count as misses while evaluation.mask_seen is true." in lines
    )
    assert "Test rows with items that are not candidates: 5; they are ignored." in lines


def test_the_table_has_a_row_for_each_slice_that_has_queries() -> None:
    shown = text(EVALUATION)
    assert "Held-out interactions, ranked among 4,000 items" in shown
    rows = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert rows == ["all", "warm", "cold item"]
    assert "0.2500" in shown
    assert "log[1].csv" in shown  # not taken for markup
    assert "ranked among 4,000 cold items" in text(replace(EVALUATION, candidates="cold"))


BASELINE = replace(
    EVALUATION, metrics={name: value / 2 for name, value in EVALUATION.metrics.items()}
)
BESIDE = replace(
    EVALUATION,
    baselines={"popularity": BASELINE, "ease": EVALUATION},
    verdict="The model is on par with EASE.",
)


def test_baselines_stand_below_the_model_in_each_slice() -> None:
    lines = text(BESIDE).splitlines()
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")
    ]
    assert [row[:4] for row in cells] == [
        ["all", "2", "model", "0.2500"],
        ["", "", "popularity", "0.1250"],
        ["", "", "EASE", "0.2500"],
        ["warm", "2", "model", "0.5000"],
        ["", "", "popularity", "0.5000"],
        ["", "", "EASE", "0.5000"],
        ["cold item", "1", "model", "0.0000"],
        ["", "", "popularity", "0.0000"],
        ["", "", "EASE", "0.0000"],
    ]
    after = next(line for line in lines if line.startswith("└"))
    assert lines[lines.index(after) + 1].strip() == "The model is on par with EASE."


def test_the_json_holds_the_baselines_beside_the_model() -> None:
    found = json.loads(json.dumps(BESIDE.to_json(), allow_nan=False))
    assert found["metrics"]["recall@2"] == 0.25
    assert list(found["baselines"]) == ["popularity", "ease"]
    assert found["baselines"]["popularity"]["recall@2"] == 0.125
    assert found["baseline_slices"]["ease"] == found["slices"]
    assert found["verdict"] == "The model is on par with EASE."


def test_the_frame_has_a_row_for_each_slice_and_ranker() -> None:
    frame = BESIDE.to_frame()
    assert frame.columns == ["slice", "ranker", "users", "recall@2", "ndcg@2", "hit@2", "mrr@2"]
    assert frame.rows()[:4] == [
        ("all", "model", 2, *(BESIDE.metrics[n] for n in frame.columns[3:])),
        (
            "all",
            "popularity",
            2,
            *(BESIDE.baselines["popularity"].metrics[n] for n in frame.columns[3:]),
        ),
        ("all", "ease", 2, *(BESIDE.baselines["ease"].metrics[n] for n in frame.columns[3:])),
        ("warm", "model", 2, *(BESIDE.slices["warm"][n] for n in frame.columns[3:])),
    ]
    assert frame["slice"].to_list()[6:] == ["cold_item"] * 3


def test_the_repr_is_one_line() -> None:
    assert repr(EVALUATION) == (
        "Evaluation(recall@2 0.2500, ndcg@2 0.3066, hit@2 0.5000, mrr@2 0.5000; 2 users, "
        "4,000 items ranked)"
    )


def test_a_notebook_shows_the_slices() -> None:
    page = EVALUATION._repr_html_()
    assert "<caption>Ranked among 4,000 items</caption>" in page
    assert page.count("<tr") == 4
    assert (
        '<tr><th scope="row">cold item</th><td>model</td><td>1</td><td>0.0000</td><td>0.0000</td>'
        "<td>0.0000</td><td>0.0000</td></tr>"
    ) in page
