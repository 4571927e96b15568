"""What a comparison says in plain words: who won, by how much, whether chance could have done it,
and what it costs."""

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
    """A few sentences on the object that `standings` makes: its models, the best first, its
    reference, its failures. The first one says who won."""
    models = document["models"]
    if len(models) == 1:
        only = models[0]
        said = [
            f"Only {only['title']} was measured: {document['metric']} {score(only, document):.3f}. "
            "There is nothing to compare it with."
        ]
    else:
        said = [*who_won(document), costs(document)]
    if document["num_queries"] == 1 and len(models) > 1:
        said.append("The test part has one user, of whom nothing can be concluded.")
    return [*said, *left_out(document)]


def who_won(document: Mapping[str, Any]) -> list[str]:
    """The first sentence, and where a deep model is neither first nor the reference one on it."""
    winner, rival = document["models"][0], rival_of(document)
    ours, theirs = score(winner, document), score(rival, document)
    factorization = winner["family"] == "matrix_factorization"
    name = f"matrix factorization ({winner['title']})" if factorization else winner["title"]
    against = named(rival, document)
    first, second = digits(ours, theirs)
    figures = f"{document['metric']} {first} against {second} of {against}"
    test = test_between(winner, rival, document)
    if test["significant"]:
        said = [
            f"{capital(name)} won: {figures}, {more(ours, theirs)}, and the difference is "
            f"significant ({chance(test, document)})."
        ]
    else:
        said = [
            f"Nobody won beyond chance: {name} is first with {figures}, {more(ours, theirs)}, but "
            f"the difference is not significant ({chance(test, document)})."
        ]
    deep = best_of(document, "deep")
    if deep is not None and deep is not winner and deep is not rival:
        said.append(deep_words(deep, document))
    return said


def rival_of(document: Mapping[str, Any]) -> Model:
    """Whom the winner is told from: the reference; where the winner is a matrix factorization like
    it, the best model of another kind."""
    models, reference = document["models"], reference_of(document)
    winner = models[0]
    if winner is not reference and winner["family"] != reference["family"]:
        return reference
    others = [model for model in models[1:] if model["family"] != winner["family"]]
    found: Model = (others or models[1:])[0]
    return found


def test_between(winner: Model, rival: Model, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The test of both; where neither is the reference, it is one beside the others."""
    reference = reference_of(document)
    found: Mapping[str, Any] = (
        winner["tests"]["all"]
        if rival is reference
        else rival["tests"]["all"]
        if winner is reference
        else document["first_two"]
    )
    return found


def deep_words(deep: Model, document: Mapping[str, Any]) -> str:
    """Where the best deep model stands against the reference."""
    reference = reference_of(document)
    test = deep["tests"].get("all")
    ours, theirs = score(deep, document), score(reference, document)
    place = "ahead of" if ours > theirs else "behind"
    first, second = digits(ours, theirs)
    if test is None:
        return f"The best deep model is {deep['title']} ({first})."
    sure = "significantly" if test["significant"] else "but not beyond chance"
    return (
        f"The best deep model, {deep['title']} ({first}), is {place} {reference['title']} "
        f"({second}), {sure} ({chance(test, document)})."
    )


def costs(document: Mapping[str, Any]) -> str:
    """What the winner takes beside the one that it is told from."""
    winner, rival = document["models"][0], rival_of(document)
    ours, theirs = winner["train_seconds"], rival["train_seconds"]
    return (
        f"{capital(winner['title'])} trains in {seconds(ours)} and answers in "
        f"{winner['milliseconds']['p50']:.2g} ms; {rival['title']} in {seconds(theirs)} and "
        f"{rival['milliseconds']['p50']:.2g} ms."
    )


def left_out(document: Mapping[str, Any]) -> list[str]:
    """Who failed, who was not run."""
    said = []
    if document["failed"]:
        named_ones = ", ".join(entry["title"] for entry in document["failed"])
        said.append(f"Failed, and not ranked: {named_ones}.")
    if document["not_run"]:
        named_ones = ", ".join(entry["title"] for entry in document["not_run"])
        said.append(f"Interrupted before {named_ones}; the same command goes on.")
    return said


# --- words ------------------------------------------------------------------------------------


def reference_of(document: Mapping[str, Any]) -> Model:
    """The model that the others are tested against."""
    found: Model = next(m for m in document["models"] if m["name"] == document["reference"])
    return found


def best_of(document: Mapping[str, Any], family: str) -> Model | None:
    """The best model of a kind, None without one."""
    return next((model for model in document["models"] if model["family"] == family), None)


def score(model: Model, document: Mapping[str, Any]) -> float:
    """The figure that decides."""
    return float(model["metrics"][document["metric"]]["mean"])


def named(model: Model, document: Mapping[str, Any]) -> str:
    """A model as the sentence names whom the winner is told from."""
    if model is not reference_of(document):
        return f"{model['title']}, the best other model"
    kind = FAMILIES[model["family"]]
    if model["family"] == "popularity":
        return str(model["title"])
    return f"the best {kind} ({model['title']}, picked on validation)"


def digits(ours: float, theirs: float) -> tuple[str, str]:
    """Two figures with three digits, or with as many, up to six, as tell them apart."""
    for number in range(3, 7):
        first, second = f"{ours:.{number}f}", f"{theirs:.{number}f}"
        if first != second:
            return first, second
    return f"{ours:.3f}", f"{theirs:.3f}"


def more(ours: float, theirs: float) -> str:
    """How much the larger one is beyond the smaller one."""
    if ours == theirs:
        return "as much"
    if theirs <= 0:
        return f"{ours - theirs:.3f} more"
    share = ours / theirs - 1
    return f"{share:.1%} more" if share < 0.1 else f"{share:.0%} more"


def chance(test: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """The p-value, and over what it was found."""
    value = test["p_holm"]
    shown = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    number = len(document["models"]) - 1 + (test is document.get("first_two"))
    corrected = f" after Holm's correction for {number} tests" if number > 1 else ""
    users = document["num_queries"]
    return f"{shown}{corrected}, {users:,} user{'' if users == 1 else 's'}"


def seconds(value: float) -> str:
    """A time as people say it."""
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"


def capital(text: str) -> str:
    """The text with a capital first letter, but for names like iALS."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]
