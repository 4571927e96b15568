"""iALS keeps the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import IALSConfig
from twotower.models.baselines import IALS


class TestIALS(ModelContract):
    model_type = IALS

    def config(self) -> IALSConfig:
        return IALSConfig(embedding_dim=4, epochs=8)
