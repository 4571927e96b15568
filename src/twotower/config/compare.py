"""The section `[compare]` of a `twotower.toml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from twotower.config.section import Section


class CompareConfig(Section):
    """`[compare]`: the models that `twotower compare` evaluates, and the search budget of each."""

    models: tuple[str, ...] = ()
    """Names of the models; `twotower compare --help` lists them. Default: all that fit the data,
    except SVD, logistic MF, GMF, MLP and NeuMF, which must be named."""
    trials: int = Field(default=8, ge=1)
    """Number of settings tried per model, the defaults first. The same for all models."""
    seconds: float = Field(default=600.0, gt=0)
    """Search time per model in seconds. A trial that has started is completed."""
    search: Literal["tpe", "random"] = "tpe"
    """Search method after the defaults. `tpe`: Optuna's tree-structured Parzen estimator, which
    learns from earlier trials."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the search and the bootstrap. The models use `training.seed`."""
    isolate: bool = True
    """Train each model in its own process: peak memory is measured per model, and a crash does not
    affect the other models."""
    resamples: int = Field(default=2000, ge=100)
    """Number of bootstrap resamples per confidence interval."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Confidence level of the intervals."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """Corrected p-values below this value are reported as significant."""
    popularity_buckets: int = Field(default=5, ge=1)
    """Number of item groups, from popular to rare, for which accuracy is reported. Each group holds
    about the same number of training rows."""
    timed_queries: int = Field(default=200, ge=1)
    """Number of single recommendations to time."""
