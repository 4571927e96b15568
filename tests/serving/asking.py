"""Requests by keyword."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from twotower.serving.answer.requests import AnswerRequest, SearchOptions

OPTIONS = {field.name for field in fields(SearchOptions)}


def asking(user_id: str | int | None = None, **given: Any) -> AnswerRequest:
    """A request; search options may stand beside its other fields."""
    options = SearchOptions(**{name: given.pop(name) for name in OPTIONS & given.keys()})
    return AnswerRequest(user_id, options=options, **given)
