"""Item neighbours keep the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import ItemKNNConfig
from twotower.models.baselines import ItemKNN


class TestItemKNN(ModelContract):
    model_type = ItemKNN

    def config(self) -> ItemKNNConfig:
        return ItemKNNConfig()
