"""Each claim of the course about what a choice leads to, by the choice itself."""

from __future__ import annotations

import time
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from twotower.course.contents import OptionField, steps
from twotower.course.experiments import EXPERIMENTS
from twotower.course.experiments.item_tower import shuffled
from twotower.course.results import CancelledError
from twotower.course.run import run_step
from twotower.course.shop import dataset, dataset_of_many_items, shop
from twotower.data.synthetic.shop import best_reachable
from twotower.evaluation.metrics import ranking_metrics
from twotower.models.baselines import MostPopular
from twotower.workflow.evaluate import evaluate

MAX_SECONDS = 10


@cache
def compiled(slug: str, **values: Any) -> dict[str, Any]:
    start = time.process_time()
    found = run_step(slug, values)
    return {**found, "cpu_seconds": time.process_time() - start}


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
    assert "4,399 of the 5,000 rows" in found["text"]
    few = compiled("embedding", num_embeddings=900)
    assert few["text"].startswith("299 of the 900 rows belong to no id.")


def test_what_is_counted_is_said_where_the_number_is() -> None:
    found = compiled("embedding", num_embeddings=601, embedding_dim="16")
    assert "9,616 numbers for the users" in found["text"]
    assert "which has 4,816 more" in found["text"]
    assert found["node"]["params"] == 9_616 + 4_816
    assert found["node"]["counted"] == "user table and item table"


@pytest.mark.parametrize(
    "slug", [slug for slug in EXPERIMENTS if slug not in ("embedding", "item-tower", "search")]
)
def test_a_result_says_what_a_good_value_is(slug: str) -> None:
    found = compiled(slug)
    rows = "test" if slug == "comparison" else "validation"
    scale = bars(found, f"ndcg@10 on the {rows} rows")
    assert len(scale) > 2
    assert all(value > 0 for value in scale.values())
    assert scale["best reachable"] == max(scale.values())
    # As the text of the first step says.
    assert max(value for name, value in scale.items() if name != "best reachable") < 0.4 * max(
        scale.values()
    )


def test_the_first_step_tells_the_size_of_the_shop() -> None:
    made = shop()
    users, items, choices = (len(t) for t in (made.users, made.items, made.interactions))
    assert f"{users} users, {items} items, and {choices:,} choices" in steps()[0].text
    assert f"about {choices // users} choices of each user" in steps()[0].text


def test_the_references_are_those_of_the_shop() -> None:
    scale = bars(
        compiled("embedding", num_embeddings=601, embedding_dim="16"),
        "ndcg@10 on the validation rows",
    )
    data = dataset()
    parts = data.parts
    popular = evaluate(MostPopular.fit(data.train), data.validation, k=10).metrics["ndcg@10"]
    best = best_reachable(shop(), parts.validation, 10, parts.train)["ndcg@10"]
    assert (scale["most popular"], scale["best reachable"]) == (popular, best)


# --- 2 ------------------------------------------------------------------------------------------


def test_one_number_per_user_gives_two_lists() -> None:
    found = compiled("factorization", embedding_dim="1")
    assert found["verdict"] == "one_number"
    assert bars(found, "Different lists of ten")["yours"] <= 2


def test_the_rows_are_moved_as_often_as_is_said() -> None:
    assert "ten batches, so the rows are moved 80 times in the 8 epochs" in steps()[1].text
    epochs: list[Any] = []
    calls: list[None] = []
    run_step("factorization", {"embedding_dim": "1"}, epochs.append, lambda: calls.append(None))
    # It is asked whether to go on at each training step and at the end of each epoch.
    assert (len(epochs), len(calls) - len(epochs)) == (8, 80)


@pytest.mark.parametrize(("dim", "verdict"), [("4", "behind"), ("16", "level"), ("64", "ahead")])
def test_more_numbers_give_more_lists_and_work_if_they_beat_popularity(
    dim: str, verdict: str
) -> None:
    found = compiled("factorization", embedding_dim=dim)
    assert (found["verdict"], found["works"]) == (verdict, verdict == "ahead")
    assert bars(found, "Different lists of ten")["yours"] > 100
    scale = bars(found, "ndcg@10 on the validation rows")
    assert (scale["yours"] > scale["most popular"]) is (verdict != "behind")


# --- 3 ------------------------------------------------------------------------------------------


def test_a_linear_tower_fails_on_the_planted_interaction() -> None:
    found = compiled("activation", activation="none")
    assert found["verdict"] == "linear"
    a, b, c, d = bars(found, "Preference for the first group of genres").values()
    assert abs(a - b - c + d) / 4 < 0.02
    assert f"west lowers the preference by {a - b:.3f}; at 60, it lowers" in found["text"]
    assert f"preference by {c - d:.3f}. (Both changes would be equal" in found["text"]
    assert f"between the two changes, is {(a - b - c + d) / 4:.3f}" in found["text"]


def test_without_an_activation_the_width_plays_no_part() -> None:
    narrow, wide = (compiled("activation", activation="none", width=width) for width in ("1", "32"))
    assert narrow["ndcg"] == wide["ndcg"]
    assert "hidden layer" not in dict(narrow["node"]["shapes"])


def test_a_hidden_layer_of_one_is_too_narrow() -> None:
    found = compiled("activation", activation="gelu", width="1")
    assert found["verdict"] == "too_narrow"
    assert "west leaves the preference as it is" in found["text"]


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_a_hidden_layer_learns_it(activation: str) -> None:
    found = compiled("activation", activation=activation, width="32")
    assert found["verdict"] == "learned"
    gaps = bars(found, "Preference for the first group of genres")
    assert gaps["25, north"] > 0 > gaps["25, west"]
    assert gaps["60, west"] > 0 > gaps["60, north"]
    assert found["ndcg"] > compiled("activation", activation="none")["ndcg"]


# --- 4 ------------------------------------------------------------------------------------------


def new_items(reads: str) -> dict[str, float]:
    return bars(compiled("item-tower", reads=reads), "ndcg@10 of new items among themselves")


@pytest.mark.parametrize("reads", ["metadata", "text", "pictures"])
def test_features_order_new_items_better_than_chance(reads: str) -> None:
    found = compiled("item-tower", reads=reads)
    assert (found["verdict"], found["works"]) == ("knows_new_items", True)
    assert new_items(reads)["yours"] > 1.3 * new_items(reads)["by chance"]


def test_each_kind_of_feature_adds_to_the_order_of_new_items() -> None:
    found = [new_items(reads)["yours"] for reads in ("id", "metadata", "text", "pictures")]
    for before, after in pairwise(found):
        assert after > 1.1 * before
    assert compiled("item-tower", reads="pictures")["also"] == ("of new items", found[-1])


def test_for_known_items_features_add_nothing_in_a_short_training() -> None:
    """As the text of the step says."""
    ids, *others = (
        compiled("item-tower", reads=reads)["ndcg"]
        for reads in ("id", "metadata", "text", "pictures")
    )
    assert max(others) < ids


def test_ids_order_new_items_no_better_than_chance() -> None:
    assert new_items("id")["yours"] < new_items("id")["by chance"]


def test_the_order_by_chance_is_that_of_shuffled_lists() -> None:
    data = dataset_of_many_items({"item": {"genres": {"type": "categories"}}})
    cold = evaluate(MostPopular.fit(data.train), data.validation, k=10, candidates="cold")
    rows = data.validation.take(np.flatnonzero(data.validation.item_num >= data.items.end_warm))
    relevant = rows.by_user().take(cold.user_num)
    rng = np.random.default_rng(0)
    new = np.unique(rows.item_num)
    assert len(new) == cold.num_items
    drawn = []
    for _ in range(50):
        ranked = rng.permuted(np.tile(new, (len(relevant), 1)), axis=1)
        drawn.append(ranking_metrics(ranked, relevant, 10)["ndcg@10"].mean())
    assert shuffled(cold, data).mean() == pytest.approx(np.mean(drawn), rel=0.05)


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


def test_a_profile_and_a_history_add_for_known_users_and_a_device_hardly_does() -> None:
    ids, profile, history, context = (
        compiled("user-tower", reads=reads)["ndcg"]
        for reads in ("id", "profile", "history", "context")
    )
    assert history > 1.3 * profile > 1.3 * 1.1 * ids
    assert context == pytest.approx(history, rel=0.05)
    assert compiled("user-tower", reads="context")["verdict"] == "reads_the_device"


# --- 6 ------------------------------------------------------------------------------------------


def shares(**values: str) -> tuple[float, float]:
    found = bars(compiled("negatives", **values), "The 30 most popular items, % of")
    return found["training rows"], found["recommendations"]


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
    assert compiled("negatives", logq="on", temperature="0.02", batch_size="32")["verdict"] == (
        "too_cold"
    )


def test_a_small_batch_has_few_negatives() -> None:
    small, usual = (compiled("negatives", logq="on", batch_size=size) for size in ("32", "512"))
    assert small["verdict"] == "small_batch"
    assert "there were 2 epochs, instead of 10" in small["text"]
    assert "only 31 of 300 items" in small["text"]
    assert small["cpu_seconds"] > usual["cpu_seconds"]


# --- 7 ------------------------------------------------------------------------------------------


def page_of_ten(**values: str) -> float:
    title = "Items on a page of ten with the filter, mean"
    return bars(compiled("search", **values), title)["yours"]


def recall(**values: str) -> float:
    found = compiled("search", filter="inside", **values)
    return bars(found, "Recall: % of the true ten nearest found")["yours"]


def test_a_filter_after_the_search_empties_the_page() -> None:
    assert page_of_ten(filter="after") < 1
    assert page_of_ten(filter="inside") == 10


def test_more_effort_finds_more() -> None:
    found = [recall(kind="hnsw", ef_search=effort) for effort in ("10", "40", "160")]
    assert found == sorted(found)
    assert found[0] < 85
    assert 95 < found[-1] < recall(kind="exact") == 100


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
    found = compiled("ranker", **values)
    assert found["works"]
    assert " 0% above" not in found["text"]


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


EACH_CHOICE = [
    pytest.param(step.slug, field.name, value, id=f"{step.slug}-{field.name}-{value}")
    for step in steps()
    for field in step.fields
    for value in (
        [option.value for option in field.options]
        if isinstance(field, OptionField)
        else [field.minimum, field.default, field.default + 1, field.maximum]
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "name", "value"), EACH_CHOICE)
def test_every_choice_compiles_in_time(slug: str, name: str, value: str | float) -> None:
    # The default of the first step is a table that is too small, and nothing would be trained.
    base = {"num_embeddings": 601} if slug == "embedding" else {}
    found = compiled(slug, **{**base, name: value})
    assert found["cpu_seconds"] < MAX_SECONDS
    assert found["text"]
    assert "{" not in found["text"]


def test_the_choices_of_all_steps_are_compiled() -> None:
    assert {parameters.values[0] for parameters in EACH_CHOICE} == set(EXPERIMENTS)
