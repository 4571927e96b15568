"""Which config a search recommends: the best trial, if it is better than the config's own values
beyond noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from twotower.evaluation.significance import PairedTest, paired_test
from twotower.workflow.tuning.search import Search
from twotower.workflow.tuning.study import Trial
from twotower.workflow.tuning.trial import user_values

SIGNIFICANCE: Final = 0.05
"""Corrected p-values below this value are beyond noise."""


@dataclass(frozen=True)
class Choice:
    """What a search recommends.

    Attributes:
        own: the trial of the config as it is.
        best: the trial with the highest metric; may be `own`.
        test: best minus own over the validation users; None if they are the same.
        num_compared: trials other than `own` that had a validation metric.
    """

    own: Trial
    best: Trial
    test: PairedTest | None
    num_compared: int

    @staticmethod
    def of(found: Search, values: Path) -> Choice:
        """Compare the best trial with the first one.

        Args:
            found: whose trial 0 succeeded.
            values: folder with the metric of each validation user, a file per trial.
        """
        own, best = found.trials[0], found.best
        assert own.number == 0
        test = None
        if best.number:
            test = paired_test(
                user_values(values, best.number),
                user_values(values, 0),
                rng=np.random.default_rng(0),
            )
        compared = [trial for trial in found.trials[1:] if trial.value is not None or trial.curve]
        return Choice(own, best, test, len(compared))

    @property
    def p_value(self) -> float | None:
        """The p-value of the paired test times the number of trials that could have been the best
        (Bonferroni), at most 1: the best of many trials is ahead by luck, too."""
        return None if self.test is None else min(self.test.p_value * self.num_compared, 1.0)

    @property
    def is_better(self) -> bool:
        """Whether the best trial is better than the config's own values beyond noise."""
        return self.p_value is not None and self.p_value < SIGNIFICANCE

    @property
    def chosen(self) -> Trial:
        """The best trial if it is better beyond noise, else the one of the config as it is."""
        return self.best if self.is_better else self.own

    def verdict(self, metric: str) -> str:
        """The result in one or two sentences."""
        own, best = self.own.value or 0.0, self.best.value or 0.0
        if self.test is None:
            return (
                f"No other trial reached validation {metric} {own:.4f} of the config as it is: it "
                "is kept."
            )
        share = f", {best / own - 1:+.1%}" if own > 0 else ""
        figures = (
            f"validation {metric} {best:.4f} after {own:.4f} with the config as it is "
            f"({best - own:+.4f}{share}; 95% interval {self.test.low:+.4f} to "
            f"{self.test.high:+.4f} over {self.test.num_queries:,} users; p = {self.p_value:.2g} "
            f"after correction for {self.num_compared} trials)"
        )
        if self.is_better:
            return f"Trial {self.best.number + 1} is better: {figures}."
        return (
            f"No trial is better beyond noise, and the config is kept as it is. The best, trial "
            f"{self.best.number + 1}, had {figures}. More validation users could tell."
        )
