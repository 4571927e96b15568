"""What runs on a GPU, on tensors that claim to be there and, where there is one, on a GPU: no mixed
devices, the CPU's results."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

import twotower as tt
from tests.claimed_device import MixedDevicesError, claimed_gpu
from twotower.config import Config, parse_config
from twotower.config.feature_type import FEATURE_TYPES
from twotower.config.registries import HISTORY_ENCODERS, LOSSES, TOWERS
from twotower.data.arrays.ragged import Ragged
from twotower.data.batches import known_pairs
from twotower.data.batches.batches import Batches, PairBatches
from twotower.data.synthetic.shop import generate
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.ncf_objective import RankingObjective
from twotower.models.ranker.neumf import NeuMF
from twotower.models.ranker.neumf_objective import PairObjective
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training import engine as engines
from twotower.training.checkpoint import load_checkpoint
from twotower.training.engine import Engine
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import Objective, parameter_groups
from twotower.training.trainer import train as run_training
from twotower.workflow.training.fit_ranker import ranker_batches
from twotower.workflow.training.fit_retriever import make_batches

CPU = torch.device("cpu")
STEPS = 3
FEATURES: dict[str, dict[str, dict[str, Any]]] = {
    "user": {
        "region": {"type": "category"},
        "age": {"type": "number", "num_bins": 4},
    },
    "item": {
        "title": {"type": "text"},
        "genres": {"type": "categories"},
        "price": {"type": "number", "log": True},
        "since": {"type": "timestamp"},
        "cover": {"type": "image"},
        "looks": {"type": "vector"},
    },
}


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("shop")
    shop = generate(folder, num_users=60, num_items=40, num_interactions=600)
    rng = np.random.default_rng(0)
    items = shop.items.with_columns(
        pl.format("{}/{}", pl.lit(str(folder)), pl.col("cover")).alias("cover"),
        pl.format(
            "2024-01-{}", pl.int_range(10, 30).sample(40, with_replacement=True, seed=0)
        ).alias("since"),
        pl.Series("looks", rng.normal(size=(40, 5)).tolist()),
    )
    clicks = np.array(["view", "buy"])[rng.integers(0, 2, len(shop.interactions))]
    log = shop.interactions.with_columns(pl.Series("event_type", clicks))
    return {"interactions": log, "users": shop.users, "items": items}


def dataset(
    shop: dict[str, pl.DataFrame], features: dict[str, dict[str, Any]], **settings: Any
) -> tt.Dataset:
    frames: dict[str, Any] = dict(shop)
    return tt.Dataset.from_frames(**frames, features=features, **settings)


Make = Callable[[nn.Module, torch.device], Objective]


def steps(
    model: nn.Module, make: Make, batches: Batches, config: Config, device: torch.device
) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of some steps, and the gradients of the first."""
    losses: list[float] = []
    gradients: dict[str, Tensor] = {}
    model.to(device).train()
    objective = make(model, device)
    optimizer = RowAdam(parameter_groups(model, config.training), lr=0.01)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for batch, _ in zip(batches.epoch(0), range(STEPS), strict=False):
            optimizer.zero_grad()
            loss = objective.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if not losses:
                gradients = {
                    name: (p.grad.to_dense() if p.grad.is_sparse else p.grad).cpu()
                    for name, p in model.named_parameters()
                    if p.grad is not None
                }
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses, gradients


Gpu = Callable[[], AbstractContextManager[torch.device]]
"""Inside, the device is there."""

PLACES = ["claimed", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(name="gpu", params=PLACES)
def fixture_gpu(request: pytest.FixtureRequest) -> Gpu:
    """A device that claims to be a GPU, or a GPU."""
    return claimed_gpu if request.param == "claimed" else lambda: nullcontext(torch.device("cuda"))


def check(
    model: nn.Module,
    make: Make,
    batches: Batches,
    config: Config,
    gpu: Gpu,
    *,
    loosely: bool = False,
) -> None:
    """The steps are the same on both devices, in bf16 about the same. `loosely`: on a GPU they are
    only about the same, because of random numbers that are drawn there, or of directions that are
    determined up to their sign."""
    expected, gradients = steps(copy.deepcopy(model), make, batches, config, CPU)
    assert len(expected) == STEPS
    assert np.isfinite(expected).all()
    with gpu() as device:
        found, moved = steps(copy.deepcopy(model), make, batches, config, device)
    assert moved.keys() == gradients.keys()
    if loosely and device.type == "cuda":
        np.testing.assert_allclose(found, expected, rtol=0.5)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        for name, gradient in gradients.items():
            torch.testing.assert_close(moved[name], gradient, rtol=1e-3, atol=5e-5)
    if device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            rounded, _ = steps(model, make, batches, config, device)
        np.testing.assert_allclose(rounded, expected, rtol=0.5 if loosely else 0.1)


def check_retriever(data: tt.Dataset, gpu: Gpu, *, loosely: bool = False, **retriever: Any) -> None:
    config = parse_config(
        {
            "data": {"interactions": "log.csv"},
            "retriever": {"embedding_dim": 8, "dropout": 0.0, **retriever},
            "training": {"batch_size": 16},
        }
    )
    batches = make_batches(data.train, config)
    held_out = np.arange(5, 9)

    def make(model: nn.Module, device: torch.device) -> RetrievalObjective:
        assert isinstance(model, TwoTower)
        size = batches.batch_size
        return RetrievalObjective(
            model, data.train, batch_size=size, device=device, held_out=held_out
        )

    check(TwoTower(config.retriever, data.schema), make, batches, config, gpu, loosely=loosely)


@pytest.mark.parametrize("loss", sorted(LOSSES.names()))
@pytest.mark.parametrize("smoothing_layers", [0, 2])
def test_each_loss(
    shop: dict[str, pl.DataFrame], gpu: Gpu, loss: str, smoothing_layers: int
) -> None:
    check_retriever(dataset(shop, {}), gpu, loss=loss, smoothing_layers=smoothing_layers)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "softmax", "max_full_softmax": 1},
        {"loss": "sampled_softmax", "negative_sampler": "popularity", "num_negatives": 20},
        {"loss": "in_batch_softmax", "mixed_negatives": True, "num_negatives": 20},
        {"loss": "in_batch_softmax", "negative_sampler": "popularity", "logq_correction": False},
        {"loss": "bpr", "negative_sampler": "popularity", "normalize": False},
        {"loss": "softmax", "learn_temperature": True, "item_bias": False, "hidden": [16, 8]},
    ],
)
def test_forms_of_losses(shop: dict[str, pl.DataFrame], gpu: Gpu, settings: dict[str, Any]) -> None:
    check_retriever(dataset(shop, {}), gpu, **settings)


@pytest.mark.parametrize("smoothing", [{"smoothing_layers": 0}, {"smoothing_every": 2}])
def test_tables_in_bf16(shop: dict[str, pl.DataFrame], gpu: Gpu, smoothing: dict[str, Any]) -> None:
    check_retriever(dataset(shop, {}), gpu, loosely=True, table_precision="bf16", **smoothing)


@pytest.mark.parametrize("loss", ["softmax", "in_batch_softmax"])
@pytest.mark.parametrize("context", [False, True])
def test_each_feature_type(
    shop: dict[str, pl.DataFrame], gpu: Gpu, loss: str, context: bool
) -> None:
    features = {
        "user": {**FEATURES["user"], "id": {"dropout": 0.0}},
        "item": {**FEATURES["item"], "id": {"dropout": 0.0}},
        **({"context": {"device": {"type": "category"}}} if context else {}),
    }
    types = {entry["type"] for side in FEATURES.values() for entry in side.values()}
    assert types == set(FEATURE_TYPES.names())
    check_retriever(dataset(shop, features), gpu, loosely=True, loss=loss)


@pytest.mark.parametrize("tower", sorted(TOWERS.names()))
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "silu"])
def test_each_tower(shop: dict[str, pl.DataFrame], gpu: Gpu, tower: str, activation: str) -> None:
    settings: dict[str, Any] = {
        "query_tower": tower,
        "item_tower": tower,
        "hidden": [12],
        "activation": activation,
    }
    check_retriever(dataset(shop, {"item": {"price": {"type": "number"}}}), gpu, **settings)


@pytest.mark.parametrize("encoder", sorted(HISTORY_ENCODERS.names()))
@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bce"])
@pytest.mark.parametrize("timed", [True, False])
def test_each_history_encoder(
    shop: dict[str, pl.DataFrame], gpu: Gpu, encoder: str, loss: str, timed: bool
) -> None:
    history = {"type": "history", "encoder": encoder, "dropout": 0.0, "max_length": 8}
    features = {
        "user": {"id": {"dropout": 0.0}, "history": history},
        "item": {"id": {"dropout": 0.0}, "price": {"type": "number"}},
    }
    frames = dict(shop)
    if not timed:
        frames["interactions"] = shop["interactions"].drop("timestamp", "event_type")
    check_retriever(dataset(frames, features), gpu, loss=loss)


# --- rankers ---


@pytest.fixture(autouse=True)
def _same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU small tables of pairs draw negatives in another way than on a GPU."""
    monkeypatch.setattr(known_pairs, "MAX_BITS_BYTES", 0)


HISTORY = {"type": "history", "dropout": 0.0, "max_length": 8}


@pytest.mark.parametrize(
    ("settings", "user", "context"),
    [
        ({}, {}, {}),
        ({"loss": "sampled_softmax", "norm": "layer", "activation": "gelu"}, {}, {}),
        ({"user_positives": False, "norm": "batch", "activation": "silu"}, {}, {}),
        ({"gmf": False, "hidden": [8]}, {}, {"device": {"type": "category"}}),
        ({"hidden": []}, {"history": HISTORY}, {}),
        ({"hard_share": 0.5, "activation": "tanh"}, {"history": HISTORY}, {}),
    ],
)
def test_each_form_of_the_ranker(
    shop: dict[str, pl.DataFrame],
    gpu: Gpu,
    settings: dict[str, Any],
    user: dict[str, Any],
    context: dict[str, Any],
) -> None:
    features = {
        "user": {**FEATURES["user"], "id": {"dropout": 0.0}, **user},
        "item": {**FEATURES["item"], "id": {"dropout": 0.0}},
        "context": context,
    }
    data = dataset(shop, features)
    section = {"embedding_dim": 8, "dropout": 0.0, **settings}
    config = parse_config({"data": {"interactions": "log.csv"}, "ranker": section})
    assert config.ranker is not None
    users, items = len(data.users), data.items
    rng = np.random.default_rng(0)
    pool = rng.integers(items.first_known, items.end_warm, (users, 5))
    pool[:, -1] = -1
    dislikes = Ragged.group(np.arange(2, 12), np.full(10, items.first_known), users)

    def make(model: nn.Module, device: torch.device) -> RankingObjective:
        assert isinstance(model, NeuralCF)
        return RankingObjective(
            model,
            data.train,
            device=device,
            pool=pool if settings.get("hard_share") else None,
            dislikes=dislikes if settings.get("hard_share") else None,
        )

    check(
        NeuralCF(config.ranker, data.schema),
        make,
        ranker_batches(data.train, config.ranker.model_copy(update={"batch_size": 12}), 0),
        config,
        gpu,
        loosely=True,
    )


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("form", ["gmf", "mlp", "neumf"])
def test_the_papers_rankers(
    shop: dict[str, pl.DataFrame], gpu: Gpu, form: str, sparse: bool
) -> None:
    train = dataset(shop, {}).train
    sizes = (len(train.users), len(train.items))
    model = {
        "gmf": lambda: NeuMF.gmf(*sizes, sparse=sparse),
        "mlp": lambda: NeuMF.mlp(*sizes, sparse=sparse),
        "neumf": lambda: NeuMF(*sizes, sparse=sparse),
    }[form]()

    def make(model: nn.Module, device: torch.device) -> PairObjective:
        assert isinstance(model, NeuMF)
        return PairObjective(
            model, train, num_negatives=3, l2=0.0 if sparse else 0.01, device=device
        )

    config = parse_config({"data": {"interactions": "log.csv"}})
    check(model, make, PairBatches(train, batch_size=4, seed=0), config, gpu, loosely=True)


# --- whole runs ---


@pytest.fixture(name="device", params=PLACES)
def fixture_device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[torch.device]:
    """The device that `training.device` names in a test."""
    if request.param == "cuda":
        yield torch.device("cuda", 0)
        return
    with claimed_gpu() as device:
        monkeypatch.setattr(engines, "_device", lambda name: device)
        yield device


only_claimed = pytest.mark.parametrize("device", ["claimed"], indirect=True)


def test_training_evaluating_and_resuming(
    shop: dict[str, pl.DataFrame], device: torch.device, tmp_path: Path
) -> None:
    train = dataset(shop, {}).train
    engine = Engine(device, bf16=False)
    where = device if device.type == "cuda" else None
    batches = PairBatches(train, batch_size=64, seed=0, device=where)
    config = tt.TrainingConfig(epochs=4, average_steps=5)

    def run(epochs: int, folder: Path, *, resume: bool = False) -> NeuMF:
        model = NeuMF(len(train.users), len(train.items), dropout=0.2)
        objective = PairObjective(model, train, num_negatives=2, device=device)
        figures = iter([0.1, 0.3, 0.2, 0.4])
        run_training(
            objective,
            batches,
            config.model_copy(update={"epochs": epochs}),
            engine=engine,
            validate=lambda: {"ndcg@20": next(figures)} if not resume else {"ndcg@20": 0.9},
            checkpoint=folder,
            resume=resume,
        )
        assert {p.device for p in model.parameters()} == {device}
        return model

    whole = run(4, tmp_path / "whole")
    run(3, tmp_path / "parts")
    resumed = run(4, tmp_path / "parts", resume=True)
    saved = load_checkpoint(tmp_path / "whole", fingerprint="")
    assert saved is not None
    for name, tensor in whole.cpu().state_dict().items():
        assert saved.states["weights"][name].device == CPU
        found = resumed.state_dict()[name].cpu()
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("encoder", [None, *sorted(HISTORY_ENCODERS.names())])
def test_a_whole_fit(
    shop: dict[str, pl.DataFrame], device: torch.device, encoder: str | None
) -> None:
    history = {} if encoder is None else {"history": {"type": "history", "encoder": encoder}}
    features = {**FEATURES, "user": {**FEATURES["user"], **history}}
    data = dataset(shop, features, ranker={"embedding_dim": 8, "hard_share": 0.5})
    train, validation, test = data.split()
    config = data.config.model_copy(update={"training": tt.TrainingConfig(epochs=2)})
    towers = tt.fit(tt.TwoTower(schema=data.schema), train, validation, config=config)
    ranker = tt.fit(
        NeuralCF(config.ranker, data.schema), train, validation, config=config, retriever=towers
    )
    recommender = tt.Recommender.build(towers, train, config, ranker=ranker)
    assert 0 < tt.evaluate(recommender, test, k=20).metrics["recall@20"] <= 1
    assert len(recommender.recommend(["u00001"], k=5)[0].items) == 5


def test_a_model_answers_from_either_device(
    shop: dict[str, pl.DataFrame], device: torch.device
) -> None:
    data = dataset(shop, FEATURES)
    train, _, test = data.split()
    model = tt.TwoTower(schema=data.schema).eval()
    answers = [
        tt.evaluate(tt.Recommender.build(model.to(where), train, data.config), test, k=10).metrics
        for where in (CPU, device)
    ]
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)


# --- the device finds what it is for ---


class Forgetful(nn.Module):
    """A table, and a constant that was not registered as a buffer."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.table = nn.Embedding(5, 3)
        self.scale = torch.ones(3)

    def forward(self, nums: Tensor) -> Tensor:
        rows: Tensor = self.table(nums)
        if self.where == "forward":
            return rows * self.scale
        if self.where == "backward":
            doubled: Tensor = ForgetfulBackward.apply(rows)  # type: ignore[no-untyped-call]
            return doubled
        if self.where == "index":
            return self.scale[nums.clamp(max=2)]
        if self.where == "generator":
            return rows + torch.rand(3, generator=torch.Generator(), device=rows.device)
        return torch.from_numpy(rows.detach().numpy())


class ForgetfulBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return 2 * rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.full((3,), 2.0)


@only_claimed
@pytest.mark.parametrize("where", ["forward", "backward", "index", "generator"])
def test_mixed_devices_are_found(device: torch.device, where: str) -> None:
    model = Forgetful(where).to(device)
    with pytest.raises(MixedDevicesError, match=r"two devices|a generator of cpu"):
        model(torch.arange(4, device=device)).sum().backward()


@only_claimed
def test_numpy_cannot_read_the_device(device: torch.device) -> None:
    with pytest.raises(RuntimeError, match="numpy"):
        Forgetful("numpy").to(device)(torch.arange(4, device=device))
