"""The texts of the course: one TOML file for each step in `steps/`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from twotower.course.results import Choices
from twotower.errors import DataError, explain

FOLDER: Final = Path(__file__).with_name("steps")
LINK: Final = re.compile(r"\[([^\]]+)\]\(([a-z-]+)\)")
"""A link of a text: what is shown, and the slug of a term of the glossary."""


class CourseText(BaseModel):
    """Base of all parts of a step: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NumberField(CourseText):
    """A number that the learner types."""

    name: str
    label: str
    minimum: float
    maximum: float
    default: float
    whole: bool = True
    """Whether it must be an integer."""

    def read(self, value: object) -> int | float:
        """The value, checked.

        Raises:
            DataError: it is not a number, or out of range.
        """
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.minimum <= value <= self.maximum:  # type: ignore[operator]
            raise DataError(
                explain(
                    f"{self.name} must be a number from {self.minimum:g} to {self.maximum:g}",
                    value=value,
                    fix="change the number",
                )
            )
        number = float(value)  # type: ignore[arg-type]
        if not self.whole:
            return number
        if number != int(number):
            raise DataError(
                explain(f"{self.name} must be a whole number", value=value, fix="round it")
            )
        return int(number)


class Option(CourseText):
    """One of several values to choose from."""

    value: str
    label: str


class OptionField(CourseText):
    """A choice between a few values."""

    name: str
    label: str
    options: Annotated[tuple[Option, ...], Field(min_length=2)]
    default: str

    def read(self, value: object) -> str:
        """The value, checked.

        Raises:
            DataError: it is not one of the options.
        """
        known = [option.value for option in self.options]
        if value not in known:
            raise DataError(
                explain(
                    f"{self.name} must be one of {', '.join(known)}",
                    value=value,
                    fix="choose one of them",
                )
            )
        return str(value)


class VerdictText(CourseText):
    """A text that says what happened."""

    works: bool
    """Whether the node lights up."""
    text: str
    """With placeholders for the measured values."""


class Answer(CourseText):
    """A possible answer of a question."""

    text: str
    right: bool = False
    why: str
    """Shown when it is chosen."""


class Question(CourseText):
    """A question with answers to choose from, one of which is right."""

    text: str
    answers: Annotated[tuple[Answer, ...], Field(min_length=3)]

    @model_validator(mode="after")
    def _one_is_right(self) -> Question:
        if sum(answer.right for answer in self.answers) != 1:
            raise ValueError("exactly one answer must be right")
        return self


class Snippet(CourseText):
    """A program of the page. The learner may change its numbers, not the code."""

    title: str
    code: str
    """With `$name` for each number."""
    see: str
    """What to see in the output, with the numbers as they are given."""
    change: str
    """What other numbers change in it."""
    numbers: tuple[NumberField, ...] = ()

    def filled(self, values: Mapping[str, object]) -> str:
        """The program with the learner's numbers, or the defaults.

        Raises:
            DataError: a number is unknown, not a number, or out of range.
        """
        return Template(self.code).substitute(
            {name: repr(value) for name, value in read_fields(self.numbers, values).items()}
        )


class CourseStep(CourseText):
    """A step of the course."""

    slug: str
    title: str
    node: str
    """Title of the node that it adds to the architecture."""
    part: Literal["query", "item", "serve", "both"]
    """Where the node stands in the architecture."""
    has_parameters: bool
    """Whether the component itself has trained parameters; a dot product, for one, has none."""
    terms: tuple[str, ...]
    """Slugs of the terms of the glossary that it is about; the first one's example is shown."""
    lesson: str
    """Slug of the lesson that goes deeper."""
    text: str
    """Paragraphs, with `code`, *emphasis* and [links](slug) to terms of the glossary."""
    task: str
    """What to do in this step."""
    goal: str
    """What the step wants: what is true of a result that works."""
    fields: Annotated[tuple[OptionField | NumberField, ...], Field(min_length=1)]
    verdicts: dict[str, VerdictText]
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    snippets: Annotated[tuple[Snippet, ...], Field(min_length=1)]

    def read(self, values: Mapping[str, object]) -> Choices:
        """The learner's choices, checked; the default where there is none.

        Raises:
            DataError: a choice is unknown or has a wrong value.
        """
        return read_fields(self.fields, values)

    def snippet(self, number: int) -> Snippet:
        """The program with a number, from 0.

        Raises:
            DataError: there is none.
        """
        if not 0 <= number < len(self.snippets):
            problem = f"the step {self.slug!r} has no program {number}"
            raise DataError(explain(problem, fix=f"name one from 0 to {len(self.snippets) - 1}"))
        return self.snippets[number]

    def told(self, verdict: str, values: Mapping[str, Any]) -> str:
        """The text of a verdict with the measured values."""
        return self.verdicts[verdict].text.format(**values)


def read_fields(
    fields: tuple[OptionField | NumberField, ...], values: Mapping[str, object]
) -> dict[str, int | float | str]:
    """The values of fields, checked; the default where there is none.

    Raises:
        DataError: a name is unknown or a value is wrong.
    """
    names = [field.name for field in fields]
    for name in values:
        if name not in names:
            problem = f"there is no choice {name[:64]!r}"
            raise DataError(explain(problem, fix=f"choose {', '.join(names) or 'nothing'}"))
    return {field.name: field.read(values.get(field.name, field.default)) for field in fields}


@cache
def steps() -> tuple[CourseStep, ...]:
    """All steps, in their order."""
    return tuple(
        parse(path.stem.partition("-")[2], path.read_text(encoding="utf-8"))
        for path in sorted(FOLDER.glob("*.toml"))
    )


def step(slug: str) -> CourseStep:
    """The step with a name.

    Raises:
        DataError: there is none.
    """
    for one in steps():
        if one.slug == slug:
            return one
    names = ", ".join(one.slug for one in steps())
    raise DataError(explain(f"there is no step {slug[:64]!r}", fix=f"name one of {names}"))


def parse(slug: str, text: str) -> CourseStep:
    """A step from the text of its file, in which lines of a paragraph are joined."""
    document = tomllib.loads(text)
    for name in ("text", "task"):
        document[name] = unwrap(document[name])
    for verdict in document["verdicts"].values():
        verdict["text"] = unwrap(verdict["text"])
    for question in document["questions"]:
        question["text"] = unwrap(question["text"])
        for answer in question["answers"]:
            answer["why"] = unwrap(answer["why"])
    for snippet in document["snippets"]:
        for name in ("see", "change"):
            snippet[name] = unwrap(snippet[name])
    return CourseStep.model_validate({"slug": slug, **document})


def unlinked(text: str) -> str:
    """A text without its links to the glossary, for where there is none.

    >>> unlinked("a [dot product](dot-product)")
    'a dot product'
    """
    return LINK.sub(r"\1", text)


def unwrap(text: str) -> str:
    """Join the lines of each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))
