"""Known pairs against a Python set, and negatives that are none of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.batches import known_pairs
from twotower.data.batches.known_pairs import KnownPairs

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20)), max_size=60)


def made(pairs: list[tuple[int, int]]) -> KnownPairs:
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return KnownPairs(users, items, num_users=7, num_items=21)


@pytest.mark.parametrize("as_bits", [True, False])
@settings(max_examples=40, deadline=None)
@given(pairs=PAIRS)
def test_contains_what_a_set_contains(as_bits: bool, pairs: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_pairs, "MAX_BITS_BYTES", 1 << 29 if as_bits else 0)
        known = made(pairs)
    assert (known.bits is not None) == as_bits
    users, items = torch.arange(7)[:, None].expand(7, 21), torch.arange(21).expand(7, 21)
    found = known.contains(users, items)
    expected = [[(user, item) in set(pairs) for item in range(21)] for user in range(7)]
    assert found.tolist() == expected


@pytest.fixture(name="form", params=["bits", "keys"])
def fixture_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the pairs are kept."""
    form: str = request.param
    monkeypatch.setattr(known_pairs, "MAX_BITS_BYTES", 1 << 29 if form == "bits" else 0)
    return form


@pytest.mark.usefixtures("form")
def test_negatives_are_uniform_among_the_items_that_a_user_does_not_have() -> None:
    known = made([(0, item) for item in range(2, 10)] + [(1, 3)])
    users = torch.tensor([0, 1]).repeat(2000)
    generator = torch.Generator().manual_seed(0)
    drawn = known.draw_others(users, 5, first=2, end=12, generator=generator)
    assert drawn.shape == (4000, 5)
    assert not known.contains(users[:, None].expand_as(drawn), drawn).any()
    of_first = np.bincount(drawn[users == 0].flatten().numpy(), minlength=12)
    assert of_first[:10].sum() == 0
    np.testing.assert_allclose(of_first[10:] / 10_000, 0.5, atol=0.02)
    of_second = np.bincount(drawn[users == 1].flatten().numpy(), minlength=12)
    np.testing.assert_allclose(of_second[[2, *range(4, 12)]] / 10_000, 1 / 9, atol=0.02)


@pytest.mark.usefixtures("form")
def test_a_user_who_has_everything_gets_something() -> None:
    known = made([(0, item) for item in range(2, 6)])
    drawn = known.draw_others(torch.zeros(3, dtype=torch.int64), 2, first=2, end=6)
    assert ((drawn >= 2) & (drawn < 6)).all()


@given(pairs=PAIRS, first=st.integers(0, 20), width=st.integers(1, 21))
@settings(max_examples=60, deadline=None)
def test_each_chance_is_an_item_that_the_user_lacks(
    pairs: list[tuple[int, int]], first: int, width: int
) -> None:
    end = min(first + width, 21)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_pairs, "MAX_BITS_BYTES", 0)
        known = made(pairs)
    for user in range(7):
        lacking = [item for item in range(first, end) if (user, item) not in pairs]
        expected = lacking or list(range(first, end))
        chances = (torch.arange(len(expected), dtype=torch.float64) + 0.5) / len(expected)
        found = known._others(torch.tensor([user]), chances[None], first, end)
        assert found.tolist() == [expected]


@pytest.mark.usefixtures("form")
def test_the_same_generator_draws_the_same() -> None:
    known = made([(0, 3)])
    users = torch.zeros(50, dtype=torch.int64)
    first, second = (
        known.draw_others(users, 4, first=2, end=9, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert torch.equal(first, second)
