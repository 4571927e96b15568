"""The verdict of a comparison in sentences: the winner, its margin, its significance, the costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Model = Mapping[str, Any]

FAMILIES = {
    "matrix_factorization": "matrix factorization",
    "linear": "linear model",
    "neighbourhood": "neighbourhood model",
    "popularity": "popularity",
    "deep": "deep model",
}


def verdict(document: Mapping[str, Any]) -> str:
    """The sentences as one text."""
    return " ".join(sentences(document))


def sentences(document: Mapping[str, Any]) -> list[str]:
    """The sentences of the verdict; the first one names the winner.

    Args:
        document: made by `comparison_document`: the models, best first, the reference, failures.
    """
    models = document["models"]
    if len(models) == 1:
        only = models[0]
        text = [
            f"Only {only['title']} was evaluated: {document['metric']} of "
            f"{score(only, document):.3f}. There is no other model to compare it with."
        ]
    else:
        text = [*outcome(document), costs(document)]
    if document["num_queries"] == 1 and len(models) > 1:
        text.append("The test part has only one user, so no conclusion can be drawn.")
    return [*text, *missing_models(document)]


def outcome(document: Mapping[str, Any]) -> list[str]:
    """The winner, followed by the best deep model if that is neither first nor the rival."""
    winner, rival = document["models"][0], rival_of(document)
    ours, theirs = score(winner, document), score(rival, document)
    factorization = winner["family"] == "matrix_factorization"
    name = f"matrix factorization ({winner['title']})" if factorization else winner["title"]
    first, second = distinct(ours, theirs)
    figures = (
        f"{document['metric']} of {first} against {second} for {described(rival, document)}, "
        f"{margin(ours, theirs)}"
    )
    test = paired_test(winner, rival, document)
    if test["significant"]:
        text = [
            f"{capitalized(name)} wins: {figures}; the difference is significant "
            f"({p_value_text(test, document)})."
        ]
    else:
        doubt = "" if ours == theirs else ", but the difference is not significant"
        text = [
            f"No statistically significant winner: {name} ranks first with {figures}{doubt} "
            f"({p_value_text(test, document)})."
        ]
    deep = best_of(document, "deep")
    if deep is not None and deep is not winner and deep is not rival:
        text.append(best_deep_model(deep, document))
    return text


def rival_of(document: Mapping[str, Any]) -> Model:
    """The model that the winner is compared with: the reference; if the winner is of the same
    family as the reference, the best model of another family."""
    models, reference = document["models"], reference_of(document)
    winner = models[0]
    if winner is not reference and winner["family"] != reference["family"]:
        return reference
    others = [model for model in models[1:] if model["family"] != winner["family"]]
    found: Model = (others or models[1:])[0]
    return found


def paired_test(winner: Model, rival: Model, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The test between two models; `first_two` if neither is the reference."""
    reference = reference_of(document)
    found: Mapping[str, Any] = (
        winner["tests"]["all"]
        if rival is reference
        else rival["tests"]["all"]
        if winner is reference
        else document["first_two"]
    )
    return found


def best_deep_model(deep: Model, document: Mapping[str, Any]) -> str:
    """The best deep model against the reference."""
    reference = reference_of(document)
    test = deep["tests"].get("all")
    ours, theirs = score(deep, document), score(reference, document)
    first, second = distinct(ours, theirs)
    if test is None:
        return f"The best deep model is {deep['title']} ({first})."
    place = "ahead of" if ours > theirs else "behind"
    p_value = p_value_text(test, document)
    if test["significant"]:
        return (
            f"The best deep model, {deep['title']} ({first}), is significantly {place} "
            f"{reference['title']} ({second}; {p_value})."
        )
    return (
        f"The best deep model, {deep['title']} ({first}), is {place} {reference['title']} "
        f"({second}), but not significantly ({p_value})."
    )


def costs(document: Mapping[str, Any]) -> str:
    """Training time and latency of the winner and of its rival."""
    winner, rival = document["models"][0], rival_of(document)
    return (
        f"Training takes {duration(winner['train_seconds'])} for {winner['title']} and "
        f"{duration(rival['train_seconds'])} for {rival['title']}; a request takes "
        f"{winner['milliseconds']['p50']:.2g} ms and {rival['milliseconds']['p50']:.2g} ms."
    )


def missing_models(document: Mapping[str, Any]) -> list[str]:
    """The models that failed and those that were not run."""
    text = []
    if document["failed"]:
        titles = ", ".join(entry["title"] for entry in document["failed"])
        text.append(f"Failed and not ranked: {titles}.")
    if document["not_run"]:
        titles = ", ".join(entry["title"] for entry in document["not_run"])
        text.append(f"Interrupted before {titles}; run the same command again to continue.")
    return text


# --- wording ----------------------------------------------------------------------------------


def reference_of(document: Mapping[str, Any]) -> Model:
    """The model that the others are tested against."""
    found: Model = next(m for m in document["models"] if m["name"] == document["reference"])
    return found


def best_of(document: Mapping[str, Any], family: str) -> Model | None:
    """The best model of a family; None if there is none."""
    return next((model for model in document["models"] if model["family"] == family), None)


def score(model: Model, document: Mapping[str, Any]) -> float:
    """The mean of the main metric."""
    return float(model["metrics"][document["metric"]]["mean"])


def described(model: Model, document: Mapping[str, Any]) -> str:
    """The rival with its role."""
    if model is not reference_of(document):
        return f"{model['title']}, the best other model"
    family = FAMILIES[model["family"]]
    if model["family"] == "popularity":
        return str(model["title"])
    return f"the best {family} ({model['title']}, selected on validation)"


def distinct(ours: float, theirs: float) -> tuple[str, str]:
    """Two figures with three decimals, or with as many, up to six, as distinguish them."""
    for number in range(3, 7):
        first, second = f"{ours:.{number}f}", f"{theirs:.{number}f}"
        if first != second:
            return first, second
    return f"{ours:.3f}", f"{theirs:.3f}"


def margin(ours: float, theirs: float) -> str:
    """How much higher the first figure is than the second."""
    if ours == theirs:
        return "a tie"
    if theirs <= 0:
        return f"{ours - theirs:.3f} higher"
    share = ours / theirs - 1
    return f"{share:.1%} higher" if share < 0.1 else f"{share:.0%} higher"


def p_value_text(test: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """The p-value, its correction and the number of users."""
    value = test["p_holm"]
    shown = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    number = len(document["models"]) - 1 + (test is document.get("first_two"))
    corrected = f" with Holm correction for {number} tests" if number > 1 else ""
    users = document["num_queries"]
    return f"{shown}{corrected}, {users:,} user{'' if users == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration in seconds or minutes."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


def capitalized(text: str) -> str:
    """The text with a capital first letter, except names like iALS."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]
