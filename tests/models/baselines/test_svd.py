"""The SVD keeps the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import SVDConfig
from twotower.models.baselines import SVD


class TestSVD(ModelContract):
    model_type = SVD

    def config(self) -> SVDConfig:
        return SVDConfig(embedding_dim=4)
