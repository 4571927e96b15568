"""Each claim of the course about what a choice leads to, by the choice itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from twotower.course.contents import steps
from twotower.course.experiments import EXPERIMENTS
from twotower.course.results import CancelledError
from twotower.course.run import run_step

MAX_SECONDS = 10


@cache
def compiled(slug: str, **values: Any) -> dict[str, Any]:
    return run_step(slug, values)


def bars(found: dict[str, Any], title: str) -> dict[str, float]:
    return {
        name: value for f in found["figures"] if f["title"] == title for name, value in f["bars"]
    }


def test_every_step_has_an_experiment() -> None:
    assert [step.slug for step in steps()] == list(EXPERIMENTS)
    assert len(steps()) == 9


@pytest.mark.parametrize("slug", EXPERIMENTS)
def test_the_first_choice_of_each_step_teaches_what_goes_wrong(slug: str) -> None:
    found = compiled(slug)
    assert not found["works"]
    assert "{" not in found["text"]


# --- 1 ------------------------------------------------------------------------------------------


def test_a_table_that_is_too_small_gives_the_real_error() -> None:
    found = compiled("embedding", num_embeddings=600)
    assert found["verdict"] == "too_small"
    assert found["node"] is None
    assert found["error"] == (
        "EmbeddingRangeError: column 'user_id': the largest integer is 600, but the embedding "
        "table has 600 rows (0 to 599) (found 600). Fix: make the table with at least 601 rows, "
        "or encode the raw values with a Vocabulary and make the table from it."
    )


def test_a_table_with_a_row_for_each_id_is_trained() -> None:
    found = compiled("embedding", num_embeddings=601, embedding_dim="16")
    assert (found["verdict"], found["works"], found["error"]) == ("fits", True, None)
    assert dict(found["node"]["shapes"])["table"] == "(601, 16)"
    assert found["node"]["params"] == (601 + 301) * 16
    assert found["ndcg"] > 0.03


def test_rows_that_belong_to_no_id_are_counted() -> None:
    found = compiled("embedding", num_embeddings=5000)
    assert (found["verdict"], found["works"]) == ("too_large", True)
    assert "4399 of the 5000 rows" in found["text"]


# --- 2 ------------------------------------------------------------------------------------------


def test_one_number_per_user_gives_two_lists() -> None:
    found = compiled("factorization", embedding_dim="1")
    assert found["verdict"] == "one_number"
    assert bars(found, "Different lists of ten")["yours"] <= 2


@pytest.mark.parametrize("dim", ["4", "16", "64"])
def test_more_numbers_give_more_lists(dim: str) -> None:
    found = compiled("factorization", embedding_dim=dim)
    assert found["works"]
    assert bars(found, "Different lists of ten")["yours"] > 100


# --- 3 ------------------------------------------------------------------------------------------


def test_a_linear_tower_fails_on_the_planted_interaction() -> None:
    found = compiled("activation", activation="none")
    assert found["verdict"] == "linear"
    a, b, c, d = bars(found, "Preference for the first group of genres").values()
    assert abs(a - b - c + d) / 4 < 0.02


def test_a_hidden_layer_of_one_is_too_narrow() -> None:
    assert compiled("activation", activation="gelu", width="1")["verdict"] == "too_narrow"


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_a_hidden_layer_learns_it(activation: str) -> None:
    found = compiled("activation", activation=activation, width="32")
    assert found["verdict"] == "learned"
    gaps = bars(found, "Preference for the first group of genres")
    assert gaps["25, north"] > 0 > gaps["25, west"]
    assert gaps["60, west"] > 0 > gaps["60, north"]
    assert found["ndcg"] > compiled("activation", activation="none")["ndcg"]


# --- 4 ------------------------------------------------------------------------------------------


def new_items(reads: str) -> float:
    return bars(compiled("item-tower", reads=reads), "ndcg@10")["new items among themselves"]


@pytest.mark.parametrize("reads", ["metadata", "text", "pictures"])
def test_features_order_new_items(reads: str) -> None:
    assert compiled("item-tower", reads=reads)["works"]
    assert new_items(reads) > new_items("id") + 0.02


# --- 5 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "path", "works"),
    [
        ("id", "popular", False),
        ("profile", "features", False),
        ("history", "history", True),
        ("context", "history", True),
    ],
)
def test_only_a_history_reads_clicks(reads: str, path: str, works: bool) -> None:
    found = compiled("user-tower", reads=reads)
    moved = bars(found, "A new user's list of ten after three clicks")["other items than before"]
    assert found["works"] is works
    assert f"`{path}`" in found["text"]
    assert (moved > 0) is works


# --- 6 ------------------------------------------------------------------------------------------


def shares(**values: str) -> tuple[float, float]:
    found = bars(compiled("negatives", **values), "Share of the 30 most popular items")
    return found["in the log"], found["in the recommendations"]


def test_without_logq_popular_items_vanish() -> None:
    bought, shown = shares(logq="off")
    assert shown < bought / 2
    _, corrected = shares(logq="on")
    assert corrected > 2 * shown
    assert compiled("negatives", logq="on")["ndcg"] > compiled("negatives", logq="off")["ndcg"]


def test_a_very_low_temperature_fits_noise() -> None:
    low, usual = (compiled("negatives", logq="on", temperature=t) for t in ("0.02", "0.2"))
    assert (low["verdict"], usual["verdict"]) == ("too_cold", "good")
    assert low["ndcg"] < usual["ndcg"]


def test_a_small_batch_has_few_negatives() -> None:
    small, usual = (compiled("negatives", logq="on", batch_size=size) for size in ("32", "512"))
    assert small["verdict"] == "small_batch"
    assert "only 31 of 300 items" in small["text"]
    assert small["seconds"] > usual["seconds"]


# --- 7 ------------------------------------------------------------------------------------------


def page_of_ten(**values: str) -> float:
    return bars(compiled("search", **values), "Items on a page of ten with the filter")["yours"]


def recall(**values: str) -> float:
    found = compiled("search", filter="inside", **values)
    return bars(found, "Share of the true ten nearest that is found")["yours"]


def test_a_filter_after_the_search_empties_the_page() -> None:
    assert page_of_ten(filter="after") < 1
    assert page_of_ten(filter="inside") == 10


def test_more_effort_finds_more() -> None:
    found = [recall(kind="hnsw", ef_search=effort) for effort in ("10", "40", "160")]
    assert found == sorted(found)
    assert found[0] < 0.85
    assert 0.95 < found[-1] < recall(kind="exact") == 1


# --- 8 ------------------------------------------------------------------------------------------


def test_without_regularisation_the_curves_part() -> None:
    events: list[dict[str, Any]] = []
    found = run_step("ranker", {}, events.append)
    assert found["verdict"] == "overfits"
    curve = [event for event in events if event["stage"] == "training the ranker"]
    losses = [event["loss"] for event in curve]
    validation = [event["validation_loss"] for event in curve]
    assert losses == sorted(losses, reverse=True)
    assert validation[-1] > 1.1 * min(validation) > 1.1 * losses[-1]


@pytest.mark.parametrize(
    "values",
    [
        {"early_stopping": "on"},
        {"dropout": "0.5"},
        {"weight_decay": "1.0"},
        {"dropout": "0.5", "weight_decay": "1.0"},
    ],
)
def test_each_remedy_helps(values: dict[str, str]) -> None:
    assert compiled("ranker", **values)["works"]


# --- 9 ------------------------------------------------------------------------------------------


def test_popularity_is_no_opponent_and_the_others_are() -> None:
    weak = compiled("comparison", against="weak")
    strong = compiled("comparison", against="strong")
    assert not weak["works"]
    assert strong["works"]
    opponents = bars(strong, "ndcg@10 on the test rows")
    assert opponents["EASE"] > opponents["most popular"]


def test_features_answer_for_new_items() -> None:
    ids, features = (
        bars(
            compiled("comparison", reads=reads, against="strong"), "ndcg@10 of your model by slice"
        )
        for reads in ("ids", "features")
    )
    assert features["new items"] > ids["new items"]


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", [slug for slug in EXPERIMENTS if slug != "embedding"])
def test_every_experiment_can_be_cancelled(slug: str) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        run_step(slug, {}, check=check)


@pytest.mark.slow
@pytest.mark.parametrize("slug", EXPERIMENTS)
def test_every_choice_compiles_in_time(slug: str) -> None:
    step = next(step for step in steps() if step.slug == slug)
    for field in step.fields:
        for option in getattr(field, "options", ()):
            found = compiled(slug, **{field.name: option.value})
            assert found["seconds"] < MAX_SECONDS
            assert found["text"]
