"""Both entrances to an answer keep the contract, and give the same answers item by item."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.contracts.answer_contract import (
    CASES,
    VERSIONS,
    AnswerContract,
    Case,
    assert_same,
    write_bundles,
)
from tests.serving.asking import asking
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.recommender import Recommender
from twotower.serving.answer.requests import AnswerRequest, SearchOptions
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import ItemChange

Answer = Callable[[Sequence[AnswerRequest]], list[Recommendation]]


@pytest.fixture(name="bundles", scope="module")
def fixture_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract") / "bundles"
    folder.mkdir()
    write_bundles(folder)
    return folder


@pytest.fixture(name="worker")
def fixture_worker(bundles: Path, tmp_path: Path) -> Iterator[Worker]:
    store = open_store(tmp_path / "events.sqlite")
    yield Worker(store, Pool(bundles))
    store.close()


def from_python(
    recommender: Recommender, requests: Sequence[AnswerRequest]
) -> list[Recommendation]:
    """Requests as the calls that ask the same; alike ones in one call."""
    answers: list[Recommendation | None] = [None] * len(requests)
    groups: dict[tuple[str, bool, bool], list[int]] = {}
    for place, request in enumerate(requests):
        key = (str(request.options), request.user_id is None, bool(request.context))
        groups.setdefault(key, []).append(place)
    for (_, invented, with_context), places in groups.items():
        group = [requests[place] for place in places]
        options = group[0].options
        context = pl.DataFrame([dict(one.context) for one in group]) if with_context else None
        if invented:
            cities = [(one.user or {}).get("city") for one in group]
            found = recommender.recommend_invented(
                pl.DataFrame({"city": pl.Series(cities, dtype=pl.String)}),
                options.k,
                context=context,
                histories=[[item.item_id for item in one.history] for one in group],
                filter=options.filter,
                exclude=options.exclude,
                mask_seen=options.mask_seen,
                diversity=options.diversity,
            )
        else:
            found = recommender.recommend(
                [one.user_id for one in group if one.user_id is not None],
                options.k,
                filter=options.filter,
                exclude=options.exclude,
                mask_seen=options.mask_seen,
                diversity=options.diversity,
                context=context,
            )
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer
    return [answer for answer in answers if answer is not None]


def known_to_python(case: Case) -> Case:
    """The same with a history as `recommend_invented` takes it: ids without types and times."""
    if "history" not in case.given:
        return case
    bare = tuple(item._replace(event_type=None, timestamp=None) for item in case.given["history"])
    return replace(case, given={**case.given, "history": bare})


class TestTheService(AnswerContract):
    @pytest.fixture
    def answer(self, worker: Worker) -> Answer:
        def asked(requests: Sequence[AnswerRequest]) -> list[Recommendation]:
            found = worker.answer(requests)
            return [one for one in found if isinstance(one, Recommendation)]

        return asked


class TestPython(AnswerContract):
    @pytest.fixture
    def answer(self, bundles: Path) -> Answer:
        return partial(from_python, Recommender.load(bundles / "one"))

    def asked(self, case: Case) -> Case:
        return known_to_python(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_python_and_the_service_give_the_same_items(
    case: Case, worker: Worker, bundles: Path
) -> None:
    request = known_to_python(case).request
    served = worker.answer([request])[0]
    assert isinstance(served, Recommendation), served
    (called,) = from_python(Recommender.load(bundles / "one"), [request])
    assert served.model_version == "one"
    assert served.path == case.path
    assert served.items or not called.items
    assert_same(called, served)


def test_mixed_requests_together_are_the_same(worker: Worker, bundles: Path) -> None:
    requests = [known_to_python(case).request for case in CASES] * 3
    requests = [requests[place] for place in np.random.default_rng(1).permutation(len(requests))]
    called = from_python(Recommender.load(bundles / "one"), requests)
    for mine, yours in zip(called, worker.answer(requests), strict=True):
        assert isinstance(yours, Recommendation), yours
        assert_same(mine, yours)


def test_each_user_of_an_experiment_gets_the_answer_of_the_variants_own_model(
    worker: Worker, bundles: Path
) -> None:
    """Two variants in one batch, and requests that name one."""
    arms = tuple(ExperimentVariant(f"arm-{name}", name, 0.5) for name in VERSIONS)
    experiment = ABExperiment("towers", arms)
    store = worker.store
    store.change_deployment(replace(store.deployment(), experiment=experiment))
    recommenders = {name: Recommender.load(bundles / name) for name in VERSIONS}
    version_of = {arm.name: arm.version for arm in arms}
    cases = [known_to_python(case) for case in CASES]
    asked = [(case, variant) for case in cases for variant in (None, *version_of)]
    asked = [asked[place] for place in np.random.default_rng(2).permutation(len(asked))]
    found = worker.answer([replace(case.request, variant=variant) for case, variant in asked])
    assert len(found) == len(asked)
    answered_by = set()
    for (case, variant), served in zip(asked, found, strict=True):
        assert isinstance(served, Recommendation), served
        request = case.request
        arm = variant
        if variant is None and request.user_id is not None:
            arm = experiment.assign(request.user_id).name
        version = version_of[arm] if arm is not None else "one"
        assert (served.variant, served.model_version) == (arm, version)
        (called,) = from_python(recommenders[version], [request])
        assert_same(called, served)
        answered_by.add((version, case.path))
    assert answered_by == {
        (name, path) for name in VERSIONS for path in ("known", "history", "features", "popular")
    }
    first, second = (
        recommender.recommend("u3", 9).items[0].score for recommender in recommenders.values()
    )
    assert first != pytest.approx(second, abs=1e-3), "the versions cannot be told apart"


def test_an_error_of_one_request_spoils_no_other(worker: Worker) -> None:
    good, bad = CASES[0].request, asking("u3", context={"devise": "phone"})
    wrong_filter = asking("u3", filter={"column": "prise", "equals": 1})
    found = worker.answer([bad, good, wrong_filter, good])
    assert str(found[0]) == (
        "column 'devise': there is no context feature that reads it, did you mean 'device'? There "
        "are: device."
    )
    assert str(found[2]) == (
        "there is no item column 'prise', did you mean 'price'? There are: title, genre, price, "
        "item_id"
    )
    for place in (1, 3):
        answer = found[place]
        assert isinstance(answer, Recommendation)
        assert_same(answer, found[1])  # type: ignore[arg-type]
        assert answer.items


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_given_items_have_the_scores_of_the_answer(case: Case, worker: Worker) -> None:
    options = SearchOptions(k=99, mask_seen=False)
    request = replace(case.request, options=options)
    (found,) = worker.answer([request])
    assert isinstance(found, Recommendation)
    names = [item.item_id for item in found.items]
    asked = ("nothing", *reversed(names), names[0], "neither")
    start = time.perf_counter()
    scored = worker.score(replace(request, items=asked))
    spent = time.perf_counter() - start
    assert (scored.user_id, scored.path) == (found.user_id, found.path)
    assert scored.unknown == ("nothing", "neither")
    assert [item.score for item in scored.items] == pytest.approx(
        [item.score for item in found.items], abs=1e-5
    )
    wanted = {item.item_id: item for item in found.items}
    assert sorted(map(str, names)) == sorted(str(item.item_id) for item in scored.items)
    for item in scored.items:
        other = wanted[item.item_id]
        assert item.score == pytest.approx(other.score, abs=1e-5)
        assert item.stage_scores == pytest.approx(dict(other.stage_scores), abs=1e-5)
        assert (item.reason, item.columns) == (other.reason, other.columns)
    assert scored.seconds.keys() >= {"retrieve", "describe"}
    assert 0 <= sum(scored.seconds.values()) <= spent


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_without_reasons_all_else_is_the_same(case: Case, worker: Worker) -> None:
    request = case.request
    bare = replace(request, options=replace(request.options, reasons=False))
    (explained,), (found,) = worker.answer([request]), worker.answer([bare])
    assert isinstance(explained, Recommendation)
    assert isinstance(found, Recommendation)
    assert found.items == [
        replace(item, reason="", reason_code="", reason_parameters={}) for item in explained.items
    ]


def test_the_time_of_each_stage_is_measured(worker: Worker) -> None:
    start = time.perf_counter()
    (found,) = worker.answer([asking("u3", diversity=0.5)])
    spent = time.perf_counter() - start
    assert isinstance(found, Recommendation)
    stages = {"follow", "lookup", "retrieve", "diversify", "describe"}
    assert found.seconds.keys() == stages
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert sum(found.seconds.values()) <= spent


def test_similar_items_are_the_same(worker: Worker, bundles: Path) -> None:
    from twotower.serving.answer.answering import similar_items

    recommender = Recommender.load(bundles / "one")
    for item_id in ("i0", "i39"):
        one, other = recommender.similar(item_id, 7), similar_items(item_id, 7, worker.active())
        assert one == other
        assert len(one) == 7


def test_an_overlay_leaves_the_answers_about_other_items_as_they_are(
    worker: Worker, bundles: Path
) -> None:
    worker.store.change_items(
        [ItemChange("i2", None), ItemChange("new", {"genre": "opera", "price": 3, "title": "N"})]
    )
    recommender = Recommender.load(bundles / "one")
    for case in (known_to_python(case) for case in CASES):
        request = replace(case.request, options=replace(case.request.options, k=99, diversity=0.0))
        served = worker.answer([request])[0]
        assert isinstance(served, Recommendation)
        (called,) = from_python(recommender, [request])
        kept = [item.item_id for item in called.items if item.item_id != "i2"]
        assert [item.item_id for item in served.items if item.item_id != "new"] == kept
