"""From item nums and scores to an answer that can be read: raw ids, columns, reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ranked import HISTORY, KNOWN, NO_ITEM, PATHS, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.reasons import (
    FOR_YOU,
    FROM_CATALOG,
    MATCHES_FEATURES,
    POPULAR_IN_CONTEXT,
    SIMILAR_TO_HISTORY,
    Reason,
    normalized,
)
from twotower.serving.answer.reasons import POPULAR as POPULAR_REASON
from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
from twotower.serving.answer.resolve_request import ResolvedRequest
from twotower.serving.answer.stages import StageAnswer
from twotower.serving.answer.user_history import UserHistory


def write_answers(
    requests: Sequence[ResolvedRequest],
    paths: NDArray[np.int8],
    answer: StageAnswer,
    model: OverlaidModel,
) -> list[Recommendation]:
    """What was found for Q requests on their paths (Q,), with ids, reasons and columns."""
    live = model.served.is_live
    answers = []
    for place, one in enumerate(requests):
        path = int(paths[place])
        nums = answer.item_nums[place]
        nums = nums[nums != NO_ITEM]
        stages = {} if path == POPULAR else answer.stage_scores
        by_stage = {stage: scores[place] for stage, scores in stages.items()}
        explained = reasons_of(one, path, nums, model) if one.request.options.reasons else None
        items = write_items(nums, answer.scores[place], by_stage, explained, model)
        answers.append(
            Recommendation(
                one.request.user_id,
                PATHS[path],
                items,
                live,
                model.version,
                one.variant,
                seconds=answer.seconds,
                ignored=one.ignored,
            )
        )
    return answers


def write_items(
    nums: NDArray[np.integer],
    scores: NDArray[np.floating],
    by_stage: Mapping[str, NDArray[np.floating]],
    reasons: Sequence[Reason] | None,
    model: OverlaidModel,
) -> list[RecommendedItem]:
    """Items with their columns; the scores are those of the first T places of (k,)."""
    listed = {stage: values.tolist() for stage, values in by_stage.items()}
    values, sentences = scores.tolist(), model.prepared.sentences
    items = []
    for rank, (item_id, columns) in enumerate(model.catalogue.rows(nums.tolist())):
        of_stages = {stage: scores[rank] for stage, scores in listed.items()}
        if reasons is None:
            items.append(RecommendedItem(item_id, values[rank], of_stages, "", "", {}, columns))
            continue
        code, parameters = reason = reasons[rank]
        sentence = sentences.sentence(reason)
        items.append(
            RecommendedItem(item_id, values[rank], of_stages, sentence, code, parameters, columns)
        )
    return items


def reasons_of(
    one: ResolvedRequest, path: int, nums: NDArray[np.int64], model: OverlaidModel
) -> list[Reason]:
    """Why these items (T,) answer a request."""
    if path == POPULAR:
        return popular_reasons(nums, one.context, model)
    by_history = path in (KNOWN, HISTORY)
    found = history_reasons(nums, one.history, model) if by_history else [None] * len(nums)
    other = None if None not in found else feature_reason(one, model)
    return [reason for each in found if (reason := each or other) is not None]


def popular_reasons(
    nums: NDArray[np.int64], context: Features, model: OverlaidModel
) -> list[Reason]:
    """How often each item (T,) was interacted with in the context of a request, and in all."""
    popularity = model.popularity
    counts = popularity.item_counts
    within: dict[str, tuple[str, list[int]]] = {}
    for feature, value in popularity.context_of(context):
        assert popularity.context_counts is not None
        of_context = popularity.context_counts.of(feature, value, len(counts))[nums].tolist()
        name = popularity.context_counts.vocabularies[feature].decode(np.array([value]))[0]
        within[feature] = (str(name), of_context)
    reasons = []
    for rank, total in enumerate(counts[nums].tolist()):
        # Where no one with this value interacted with it, it is not popular there.
        named = {f: name for f, (name, number) in within.items() if number[rank]}
        if named:
            there = {feature: within[feature][1][rank] for feature in named}
            reasons.append(Reason(POPULAR_IN_CONTEXT, {"context": named, "count": there}))
        else:
            reasons.append(
                Reason(POPULAR_REASON, {"count": total}) if total else Reason(FROM_CATALOG)
            )
    return reasons


def history_reasons(
    nums: NDArray[np.int64], history: UserHistory, model: OverlaidModel
) -> list[Reason | None]:
    """For each item (T,) the most similar one of the history, by the cosine of the item vectors;
    None where no cosine is positive."""
    index = model.stages.index
    # What has no vector is not similar to anything. The newest event with an item comes first.
    own = history.items[::-1]
    with_vector = places_of(index.item_nums, own) >= 0
    own, types = own[with_vector], history.event_num[::-1][with_vector]
    if not len(own) or not len(nums):
        return [None] * len(nums)
    width = model.served.similarity_dim
    near, others = (normalized(index.vectors_of(n)[:, :width]) for n in (own, nums))
    cosines = others @ near.T
    nearest, largest = cosines.argmax(axis=1), cosines.max(axis=1).tolist()
    type_names = model.prepared.history.type_names
    of_nearest = zip(own[nearest].tolist(), types[nearest].tolist(), largest, strict=True)
    names = model.catalogue.names(own[nearest].tolist())
    return [
        Reason(
            SIMILAR_TO_HISTORY,
            {
                "item_id": item_id,
                "item": name,
                "event_type": type_names.get(event_num),
                "similarity": round(cosine, 4),
            },
        )
        if cosine > 0
        else None
        for (item_id, name), (_, event_num, cosine) in zip(names, of_nearest, strict=True)
    ]


def feature_reason(one: ResolvedRequest, model: OverlaidModel) -> Reason:
    """Of an answer by features alone: those that are known."""
    names = known_features(one, model)
    return Reason(MATCHES_FEATURES, {"features": names}) if names else Reason(FOR_YOU)


def known_features(one: ResolvedRequest, model: OverlaidModel) -> list[str]:
    """Names of the features of a request's user and context that have a value."""
    users, features = model.served.users, model.served.schema.features
    names = []
    for name, feature in features["user"].items():
        if name == ID_FEATURE:
            continue
        given = feature.column in one.sent.user
        if given or (one.user_num >= 0 and users.frame[feature.column][one.user_num] is not None):
            names.append(name)
    return names + [n for n, f in features["context"].items() if f.column in one.sent.context]
