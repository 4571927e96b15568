"""BPR keeps the contract."""

from __future__ import annotations

from tests.contracts.model_contract import ModelContract
from twotower.config.baselines import BPRMFConfig
from twotower.models.baselines import BPRMF


class TestBPRMF(ModelContract):
    model_type = BPRMF

    def config(self) -> BPRMFConfig:
        return BPRMFConfig(embedding_dim=4, epochs=60, learning_rate=0.02, batch_size=64, l2=0.1)
