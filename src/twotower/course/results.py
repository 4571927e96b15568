"""What an experiment reports: progress while it runs, and an outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class CancelledError(Exception):
    """The learner has cancelled the experiment."""


@dataclass(frozen=True)
class ProgressEvent:
    """Something that happened while an experiment runs.

    Attributes:
        stage: what is going on, such as "training".
        epoch: from 1.
        epochs: how many there will be at most.
        loss: training loss of the epoch; None where nothing is trained.
        ndcg: validation ndcg@10 after the epoch; None where it was not measured.
        validation_loss: loss on the validation rows; None where it was not measured.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float | None = None
    ndcg: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class BuiltNode:
    """The component that a step adds to the architecture.

    Attributes:
        shapes: what goes in and what comes out: name -> shape, such as `("item ids", "(B,)")`.
        params: number of trained parameters of what is counted.
        counted: which parts of the step's model they belong to, such as "both tables".
    """

    shapes: tuple[tuple[str, str], ...]
    params: int
    counted: str


@dataclass(frozen=True)
class Figure:
    """Values that are shown as bars.

    Attributes:
        title: what is compared.
        bars: name and value of each.
    """

    title: str
    bars: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class CompileOutcome:
    """What came of an experiment.

    Attributes:
        verdict: name of the step's text that says what happened.
        values: numbers and words that fill the text's placeholders.
        node: what was built; None if it could not be built.
        ndcg: ndcg@10 on validation rows; None where it was not measured.
        also: name and value of another figure by which choices are compared, or None.
        figures: values to show as bars.
        error: the error that ended the experiment, as a program would show it.
    """

    verdict: str
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    node: BuiltNode | None = None
    ndcg: float | None = None
    also: tuple[str, float] | None = None
    figures: tuple[Figure, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Watch:
    """Follows an experiment.

    Attributes:
        report: called with the progress.
        check: called between the steps of training; may raise `CancelledError`.
    """

    report: Callable[[ProgressEvent], None] = lambda _: None
    check: Callable[[], None] = lambda: None


Choices = Mapping[str, int | float | str]
"""Name of a choice -> the learner's value, already checked."""
Experiment = Callable[[Choices, Watch], CompileOutcome]
"""The experiment of a step."""
