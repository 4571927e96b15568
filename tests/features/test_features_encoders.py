"""Encoders of content: what they compute, and that what is planted in content is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from twotower.config.feature_type import Feature
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.dataset.entities import Column, to_column
from twotower.errors import EmbeddingRangeError
from twotower.features.image import ImageConfig, ImageEncoder, ImageFeature
from twotower.features.text import TextConfig, TextEncoder, TextFeature
from twotower.features.vector import VectorConfig, VectorFeature
from twotower.models.layers.encoders import make_encoder
from twotower.models.layers.vector_encoder import VectorEncoder


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def text_feature(weights: list[float], **config: Any) -> TextFeature:
    entry = TextConfig.model_validate(
        {"type": "text", "num_buckets": max(len(weights) - 1, 1), **config}
    )
    return TextFeature("plot", entry, np.array(weights, dtype=np.float32))


def image_feature(**config: Any) -> ImageFeature:
    return ImageFeature(
        "cover", ImageConfig.model_validate({"type": "image", "size": 16, **config})
    )


def vector_feature(dim: int, **config: Any) -> VectorFeature:
    return VectorFeature("looks", VectorConfig.model_validate({"type": "vector", **config}), dim)


# --- the bag ------------------------------------------------------------------------------------


def plain_bag(encoder: TextEncoder, weights: list[float], nums: Tensor) -> Tensor:
    """The bag as it is written down."""
    rows: list[Tensor] = []
    for row in nums.tolist():
        terms = [num for num in row if num]
        if not terms:
            rows.append(encoder.missing)
            continue
        norm = sum(weights[num] ** 2 for num in terms) ** 0.5
        parts = [weights[num] / norm * encoder.table.weight[num] for num in terms]
        rows.append(torch.stack(parts).sum(dim=0))
    return torch.stack(rows)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_bag_is_what_is_written_down_and_so_is_its_gradient(rows: list[list[int]]) -> None:
    weights = [0.0, 1.0, 2.0, 0.5, 1.5, 3.0, 1.0]
    encoder = make_encoder(text_feature(weights), 3, generator=drawn())
    assert isinstance(encoder, TextEncoder)
    nn.init.normal_(encoder.missing, generator=drawn())
    nums = torch.tensor(rows)
    outputs = []
    for compute in (encoder, lambda nums: plain_bag(encoder, weights, nums)):
        encoder.zero_grad()
        vectors = compute(nums)
        (vectors * torch.arange(3)).square().sum().backward()
        gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in encoder.parameters()
        ]
        outputs.append([vectors.detach(), *gradients])
    for ours, plain in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, plain)


def test_rows_prepared_once_are_encoded_as_they_are_after_any_step() -> None:
    encoder = make_encoder(text_feature([0.0, 1.0, 2.0]), 3, generator=drawn())
    assert isinstance(encoder, TextEncoder)
    nums = torch.tensor([[1, 2], [0, 0]])
    prepared = encoder.prepare(nums)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(encoder(prepared), encoder(nums))
            encoder.table.weight.mul_(3)


def test_padding_and_rows_do_not_matter() -> None:
    encoder = make_encoder(text_feature([0.0, 1.0, 2.0, 3.0]), 4, generator=drawn())
    narrow = encoder(torch.tensor([[1, 3], [2, 0]]))
    wide = encoder(torch.tensor([[0, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 3]]))
    torch.testing.assert_close(wide[1:].flip(0), narrow)
    lists = RaggedTensor(torch.tensor([0, 2, 2, 3]), torch.tensor([1, 3, 2], dtype=torch.int32))
    torch.testing.assert_close(encoder(lists), torch.stack([narrow[0], wide[0], narrow[1]]))


def test_a_text_keeps_its_scale_for_any_number_of_terms() -> None:
    encoder = make_encoder(text_feature([0.0] + [1.0] * 600), 64, generator=drawn())
    for terms in (1, 20, 200, 600):
        length = encoder(torch.arange(1, terms + 1)[None]).norm().item()
        assert 0.6 < length < 1.5


def test_nums_beyond_the_table() -> None:
    encoder = make_encoder(text_feature([0.0, 1.0]), 4)
    with pytest.raises(EmbeddingRangeError, match="column 'plot': the largest integer is 2"):
        encoder(torch.tensor([[2]]))
    lists = RaggedTensor(torch.tensor([0, 1]), torch.tensor([2], dtype=torch.int32))
    with pytest.raises(EmbeddingRangeError, match="column 'plot': the largest integer is 2"):
        encoder(lists)


def test_no_gradient_where_none_is_asked_for() -> None:
    encoder = make_encoder(text_feature([0.0, 1.0]), 4)
    with torch.no_grad():
        assert not encoder(torch.tensor([[1]])).requires_grad
    assert encoder(torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 4)


# --- all ----------------------------------------------------------------------------------------

CASES: list[tuple[Feature, type[nn.Module], Tensor]] = [
    (text_feature([0.0, 1.0, 2.0]), TextEncoder, torch.tensor([[1, 2], [0, 0], [2, 0]])),
    (
        image_feature(),
        ImageEncoder,
        torch.cat([torch.full((3, 3 * 16 * 16), 200), torch.tensor([[0], [1], [0]])], 1).byte(),
    ),
    (
        vector_feature(3),
        VectorEncoder,
        torch.tensor([[1.0, 5.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0], [3.0, 2.0, 2.0, 0.0]]),
    ),
]
"""Row 1 of each is missing."""


@pytest.mark.parametrize(("feature", "kind", "values"), CASES)
def test_missing_is_learned_and_every_weight_gets_a_gradient(
    feature: Feature, kind: type[nn.Module], values: Tensor
) -> None:
    encoder = make_encoder(feature, 5, generator=drawn())
    assert type(encoder) is kind
    assert encoder.width == 5
    encoder.missing.data += torch.arange(5)  # type: ignore[operator]
    vectors = encoder(values)
    assert vectors.shape == (3, 5)
    assert vectors.dtype == torch.float32
    assert vectors[1].tolist() == [0, 1, 2, 3, 4]
    (vectors * torch.tensor([[1.0], [2.0], [3.0]])).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    alone = encoder(values[:1])
    torch.testing.assert_close(alone[0], vectors[0])
    assert encoder(values[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    "feature",
    [
        text_feature([0.0, 1.0], embedding_dim=7),
        image_feature(embedding_dim=7),
        vector_feature(3, embedding_dim=7),
    ],
)
def test_a_width_of_their_own(feature: Feature) -> None:
    assert make_encoder(feature, 5).width == 7


@pytest.mark.parametrize(("feature", "kind", "values"), CASES)
def test_the_generator_draws_all_weights(
    feature: Feature, kind: type[nn.Module], values: Tensor
) -> None:
    first, again = (make_encoder(feature, 5, generator=drawn()) for _ in range(2))
    torch.testing.assert_close(first(values), again(values), rtol=0, atol=0)
    assert "idf" not in first.state_dict()  # the schema keeps it


@pytest.mark.parametrize("size", [8, 16, 33])
def test_pictures_of_any_size(size: int) -> None:
    encoder = make_encoder(image_feature(size=size), 5)
    assert encoder(torch.zeros(2, 3 * size * size + 1, dtype=torch.uint8)).shape == (2, 5)


def test_a_vector_of_one_number_is_told() -> None:
    encoder = make_encoder(vector_feature(1), 4)
    low, high = encoder(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    assert not torch.equal(low, high)


def test_vectors_of_any_scale_are_alike() -> None:
    encoder = make_encoder(vector_feature(3), 4)
    values = torch.tensor([[1.0, 5.0, 2.0, 0.0]])
    scaled = torch.cat([values[:, :3] * 1e15, values[:, 3:]], dim=1)
    torch.testing.assert_close(encoder(scaled), encoder(values), rtol=1e-3, atol=1e-4)


# --- planted truth ------------------------------------------------------------------------------


def accuracy(encoder: nn.Module, values: Column, label: Tensor, steps: int, rate: float) -> float:
    """Of the rows that a linear model on an encoder does not learn from, the share it tells."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(encoder, nn.Linear(encoder.width, 1))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    half = len(values) // 2
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(values[:half])[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, label[:half].float())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return float(((model(values[half:])[:, 0] > 0) == label[half:]).float().mean())


def test_planted_topics_are_learned() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(1000) < 0.5
    texts = []
    for at_sea in label:
        topic = [f"{'sea' if at_sea else 'court'}{n}" for n in rng.integers(0, 8, 4)]
        noise = [f"w{n}" for n in rng.integers(0, 100, 8)]
        texts.append(" ".join(rng.permutation([*topic, *noise])))
    column = pl.Series("plot", texts)
    feature = TextConfig(type="text").fit("plot", column[:500])
    values = to_column(feature.encode(column))
    encoder = make_encoder(feature, 8, generator=drawn())
    assert accuracy(encoder, values, torch.from_numpy(label), 40, 0.02) > 0.95


def test_a_planted_shape_is_learned() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.5
    pixels = rng.integers(0, 80, (200, 3, 16, 16))
    for picture, across in zip(pixels, label, strict=True):
        place = rng.integers(2, 14)
        picture[:, place, :] += 150 * across
        picture[:, :, place] += 150 * (not across)
    flat = np.concatenate([pixels.reshape(200, -1), np.zeros((200, 1))], axis=1)
    values = torch.from_numpy(flat.astype(np.uint8))
    encoder = make_encoder(image_feature(), 8, generator=drawn())
    assert accuracy(encoder, values, torch.from_numpy(label), 60, 0.01) > 0.9
