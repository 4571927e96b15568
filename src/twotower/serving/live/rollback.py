"""Rollbacks: back through the history of activations, one step each, never forward again.

Each activation remembers the deployment that it replaced (`rollback_to`). A rollback restores that
one, together with what that one remembers: the deployments are a linked stack.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from twotower.errors import ConflictError, explain
from twotower.serving.store.protocol import Deployment


def rolled_back(history: Sequence[Deployment], versions: Container[str]) -> Deployment:
    """The current deployment with the version that was active before; an experiment ends.

    Args:
        history: all deployments, oldest first.
        versions: names of the versions that are there; others are passed over.

    Raises:
        ConflictError: no earlier version is there.
    """
    now = history[-1]
    earlier = (one for one in before(now, history) if one.active in versions)
    target = next((one for one in earlier if one.active != now.active), None)
    if target is None:
        raise ConflictError(
            explain("there is no version to roll back to", fix="activate a version by name")
        )
    below = next(before(target, history), None)
    others = (one.active for one in before(target, history) if one.active in versions)
    return replace(
        now,
        active=target.active,
        previous=next((name for name in others if name != target.active), None),
        experiment=None,
        rollback_to=None if below is None else below.revision,
    )


def before(one: Deployment, history: Sequence[Deployment]) -> Iterator[Deployment]:
    """The deployments that rollbacks from one would restore, the nearest first."""
    by_revision = {each.revision: each for each in history}
    found: Deployment | None = one
    while found is not None:
        found = below_of(found, by_revision, history)
        if found is not None:
            yield found


def below_of(
    one: Deployment, by_revision: dict[int, Deployment], history: Sequence[Deployment]
) -> Deployment | None:
    """The deployment that a rollback from one restores."""
    if one.rollback_to is not None:
        return by_revision.get(one.rollback_to)
    if one.previous is None:
        return None
    # Stored by an earlier version of twotower, which kept only the name.
    named = [each for each in history if each.active == one.previous]
    return next((each for each in reversed(named) if each.revision < one.revision), None)
