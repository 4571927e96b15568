"""Each thing that a comparison can have to say."""

from __future__ import annotations

from typing import Any

from twotower.workflow.comparison.verdict import sentences, verdict

TITLES = {
    "ials": ("iALS", "matrix_factorization"),
    "bpr_mf": ("BPR-MF", "matrix_factorization"),
    "ease": ("EASE", "linear"),
    "popularity": ("popularity", "popularity"),
    "two_tower": ("two-tower", "deep"),
}
COSTS = {"ials": (28.0, 0.2), "two_tower": (750.0, 0.31), "ease": (3.0, 1.5)}


def document(
    scores: dict[str, float], reference: str, p_values: dict[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    """A comparison in which models have these ndcg@10 and these p-values against the reference."""
    models = []
    for name in sorted(scores, key=lambda name: -scores[name]):
        title, family = TITLES[name]
        seconds, milliseconds = COSTS.get(name, (1.0, 0.1))
        p_value = (p_values or {}).get(name, 1e-9)
        test = {
            "difference": scores[name] - scores[reference],
            "p_holm": p_value,
            "significant": p_value < 0.05,
        }
        models.append(
            {
                "name": name,
                "title": title,
                "family": family,
                "metrics": {"ndcg@10": {"mean": scores[name]}},
                "tests": {} if name == reference else {"all": test},
                "train_seconds": seconds,
                "milliseconds": {"p50": milliseconds},
            }
        )
    return {
        "metric": "ndcg@10",
        "num_queries": 5400,
        "reference": reference,
        "models": models,
        "failed": [],
        "not_run": [],
        **more,
    }


COST = "Training takes 12 min for two-tower and 28 s for iALS; a request takes 0.31 ms and 0.2 ms."


def test_a_deep_model_wins() -> None:
    assert verdict(
        document(
            {"two_tower": 0.312, "ials": 0.28, "popularity": 0.1}, "ials", {"two_tower": 0.003}
        )
    ) == (
        "Two-tower wins: ndcg@10 of 0.312 against 0.280 for the best matrix factorization (iALS, "
        "selected on validation), 11% higher; the difference is significant (p = 0.003 with Holm "
        f"correction for 2 tests, 5,400 users). {COST}"
    )


def test_a_deep_model_is_ahead_within_chance() -> None:
    assert verdict(document({"two_tower": 0.282, "ials": 0.28}, "ials", {"two_tower": 0.31})) == (
        "No statistically significant winner: two-tower ranks first with ndcg@10 of 0.282 against "
        "0.280 for the best matrix factorization (iALS, selected on validation), 0.7% higher, but "
        f"the difference is not significant (p = 0.31, 5,400 users). {COST}"
    )


def test_matrix_factorization_wins() -> None:
    assert verdict(document({"two_tower": 0.25, "ials": 0.28}, "ials")) == (
        "Matrix factorization (iALS) wins: ndcg@10 of 0.280 against 0.250 for two-tower, the best "
        "other model, 12% higher; the difference is significant (p < 0.001, 5,400 users). Training "
        "takes 28 s for iALS and 12 min for two-tower; a request takes 0.2 ms and 0.31 ms."
    )


def test_matrix_factorization_is_ahead_within_chance() -> None:
    found = verdict(document({"two_tower": 0.279, "ials": 0.28}, "ials", {"two_tower": 0.9}))
    assert found.startswith(
        "No statistically significant winner: matrix factorization (iALS) ranks first with ndcg@10 "
        "of 0.280 against 0.279 for two-tower, the best other model, 0.4% higher, but the "
        "difference is not significant (p = 0.9, 5,400 users)."
    )


def test_another_matrix_factorization_than_the_one_that_validation_chose_wins() -> None:
    scores = {"bpr_mf": 0.30, "two_tower": 0.29, "ials": 0.28}
    tested = {"p_holm": 0.02, "significant": True}
    made = document(scores, "ials", {"two_tower": 0.01, "bpr_mf": 0.001}, first_two=tested)
    assert sentences(made)[:2] == [
        "Matrix factorization (BPR-MF) wins: ndcg@10 of 0.300 against 0.290 for two-tower, the "
        "best other model, 3.4% higher; the difference is significant (p = 0.02 with Holm "
        "correction for 3 tests, 5,400 users).",
        "Training takes 1.0 s for BPR-MF and 12 min for two-tower; a request takes 0.1 ms and 0.31 "
        "ms.",
    ]
    tested = {"p_holm": 0.3, "significant": False}
    made = document(scores, "ials", {"two_tower": 0.01, "bpr_mf": 0.001}, first_two=tested)
    assert sentences(made)[0].startswith(
        "No statistically significant winner: matrix factorization (BPR-MF)"
    )


def test_neither_wins() -> None:
    scores = {"ease": 0.33, "two_tower": 0.3, "ials": 0.28}
    assert sentences(document(scores, "ials", {"two_tower": 0.2, "ease": 0.0004})) == [
        "EASE wins: ndcg@10 of 0.330 against 0.280 for the best matrix factorization (iALS, "
        "selected on validation), 18% higher; the difference is significant (p < 0.001 with Holm "
        "correction for 2 tests, 5,400 users).",
        "The best deep model, two-tower (0.300), is ahead of iALS (0.280), but not significantly "
        "(p = 0.2 with Holm correction for 2 tests, 5,400 users).",
        "Training takes 3.0 s for EASE and 28 s for iALS; a request takes 1.5 ms and 0.2 ms.",
    ]
    significant = sentences(document(scores, "ials", {"two_tower": 0.01, "ease": 0.0004}))
    assert significant[1] == (
        "The best deep model, two-tower (0.300), is significantly ahead of iALS (0.280; p = 0.01 "
        "with Holm correction for 2 tests, 5,400 users)."
    )


def test_without_matrix_factorization_the_best_simpler_model_is_the_reference() -> None:
    found = sentences(document({"two_tower": 0.2, "popularity": 0.1}, "popularity"))
    assert found[0] == (
        "Two-tower wins: ndcg@10 of 0.200 against 0.100 for popularity, 100% higher; the "
        "difference is significant (p < 0.001, 5,400 users)."
    )


def test_only_one_model() -> None:
    assert verdict(document({"two_tower": 0.25}, "two_tower")) == (
        "Only two-tower was evaluated: ndcg@10 of 0.250. There is no other model to compare it "
        "with."
    )


def test_two_models_of_one_kind() -> None:
    found = sentences(document({"ials": 0.25, "bpr_mf": 0.2}, "bpr_mf", {"ials": 0.01}))
    assert found[0] == (
        "Matrix factorization (iALS) wins: ndcg@10 of 0.250 against 0.200 for the best matrix "
        "factorization (BPR-MF, selected on validation), 25% higher; the difference is significant "
        "(p = 0.01, 5,400 users)."
    )


def test_those_that_failed_or_were_not_run_are_named() -> None:
    failed = [{"title": "EASE"}, {"title": "SVD"}]
    assert verdict(
        document({"two_tower": 0.25}, "two_tower", failed=failed, not_run=[{"title": "NCF"}])
    ) == (
        "Only two-tower was evaluated: ndcg@10 of 0.250. There is no other model to compare it "
        "with. Failed and not ranked: EASE, SVD. Interrupted before NCF; run the same command "
        "again to continue."
    )


def test_one_user_proves_nothing() -> None:
    found = document({"two_tower": 0.3, "ials": 0.1}, "ials", {"two_tower": 1.0}, num_queries=1)
    assert verdict(found) == (
        "No statistically significant winner: two-tower ranks first with ndcg@10 of 0.300 against "
        "0.100 for the best matrix factorization (iALS, selected on validation), 200% higher, but "
        f"the difference is not significant (p = 1, 1 user). {COST} The test part has only one "
        "user, so no conclusion can be drawn."
    )


def test_no_model_finds_anything() -> None:
    found = sentences(document({"two_tower": 0.0, "ials": 0.0}, "ials", {"two_tower": 1.0}))
    assert found[0] == (
        "No statistically significant winner: two-tower ranks first with ndcg@10 of 0.000 against "
        "0.000 for the best matrix factorization (iALS, selected on validation), a tie (p = 1, "
        "5,400 users)."
    )


def test_figures_that_are_near_each_other_get_more_digits() -> None:
    found = sentences(document({"two_tower": 0.11144, "ials": 0.11141}, "ials", {"two_tower": 0.9}))
    assert "ndcg@10 of 0.11144 against 0.11141 for" in found[0]
