"""The section `[compare]` of a `twotower.toml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from twotower.config.section import Section


class CompareConfig(Section):
    """`[compare]`: which models `twotower compare` puts beside each other, and what each may spend
    on its search for good settings."""

    models: tuple[str, ...] = ()
    """Names of models; left out: all that fit the data; SVD, logistic MF, GMF, MLP and NeuMF take
    part when they are named. `twotower compare --help` lists them."""
    trials: int = Field(default=8, ge=1)
    """Settings that are tried for each model, its defaults first; the same number for all."""
    seconds: float = Field(default=600.0, gt=0)
    """Time that each model may search; a trial that began in time is finished."""
    search: Literal["tpe", "random"] = "tpe"
    """How settings are drawn after the defaults; `tpe`: by Optuna's tree-structured Parzen
    estimator, which learns from earlier trials."""
    seed: int = Field(default=0, ge=0)
    """Of the search and the bootstrap; that of the models is `training.seed`."""
    isolate: bool = True
    """Train each model in a process of its own: its peak memory is then its own, and the others
    outlive its crash."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """Corrected p-values below it are called significant."""
    popularity_buckets: int = Field(default=5, ge=1)
    """Groups of items, from much taken to little, that accuracy is told for; each has about as many
    training rows."""
    timed_queries: int = Field(default=200, ge=1)
    """Single recommendations that are timed."""
