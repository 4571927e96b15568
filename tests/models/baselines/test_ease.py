"""EASE keeps the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import EASEConfig
from twotower.models.baselines import EASE


class TestEASE(ModelContract):
    model_type = EASE

    def config(self) -> EASEConfig:
        return EASEConfig(l2=20.0)
