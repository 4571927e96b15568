"""Logistic MF keeps the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import LogisticMFConfig
from twotower.models.baselines import LogisticMF


class TestLogisticMF(ModelContract):
    model_type = LogisticMF

    def config(self) -> LogisticMFConfig:
        return LogisticMFConfig(
            embedding_dim=4,
            epochs=60,
            learning_rate=0.05,
            batch_size=16,
            l2=0.05,
            negatives_per_pair=1,
        )
