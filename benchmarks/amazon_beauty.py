"""Next item on Amazon Beauty (5-core), the history tower's three encoders; about 30 minutes.

The last item of each user is tested on, the last but one is for validation; a test query's history
includes it. Full ranking over all items, k = 10, seen items not masked, and masked as a second
figure. The query tower reads the history alone, no user ids; epochs are chosen on validation, then
the model is fitted again on training and validation rows. Published figures are without that second
fit: `test_without_refit` has ours, whose histories hold the validation item all the same. The
encoder that validation likes best is the one that is quoted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import data_folder, emit, parser
from benchmarks.retrieval import peak_memory_gb
from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.train import fit_part, known_events

K = 10
ENCODERS = ("mean", "attention", "transformer")


def toml(encoder: str) -> str:
    """A config for one encoder."""
    file = data_folder("amazon-beauty") / "sequences.parquet"
    return f"""
[data]
interactions = "{file}"
[data.columns]
timestamp = "position"
[data.split]
method = "last_out"
[features.user.id]
enabled = false
[features.user.history]
type = "history"
encoder = "{encoder}"
ages = false                # positions are no times
max_length = 20
[retriever]
temperature = 0.1           # as measured; the default of this many rows is higher
blend = false               # the encoders are compared, not what stands beside them
[training]
patience = 3
[evaluation]
k = {K}
mask_seen = false
"""


def figures(recommender: Recommender, dataset: Dataset, *, mask_seen: bool) -> dict[str, float]:
    """recall@k and ndcg@k on the test part."""
    metrics = evaluate(recommender, dataset.test, k=K, mask_seen=mask_seen).metrics
    return {name: round(metrics[name], 5) for name in (f"recall@{K}", f"ndcg@{K}")}


def run(encoder: str, overrides: list[str], console: Console) -> dict[str, Any]:
    """Fit, choose the epoch, fit again, measure once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twotower.toml"
        path.write_text(toml(encoder), encoding="utf-8")
        config = load_config(path, overrides)
    dataset = Dataset.read(config)
    first, result = fit_part(dataset, None, console=console, title=encoder)
    best = result.epochs[result.best_epoch - 1]
    training = config.training.model_copy(update={"epochs": result.best_epoch})
    config = config.model_copy(update={"training": training})
    again = Dataset.from_parts(config, dataset.tables, dataset.parts).refit("train")
    recommender, _ = fit_part(again, None, console=console, title=f"{encoder}, refit")
    served = recommender.served
    recommender = Recommender(served.with_users(served.users, known_events(again)))
    return {
        "best_epoch": result.best_epoch,
        "seconds_an_epoch": round(result.seconds / len(result.epochs), 1),
        "validation": {name: round(best[name], 5) for name in (f"ndcg@{K}", f"recall@{K}")},
        "test_without_refit": {
            "seen_kept": figures(first, dataset, mask_seen=False),
            "seen_masked": figures(first, dataset, mask_seen=True),
        },
        "test": figures(recommender, again, mask_seen=False),
        "test_seen_masked": figures(recommender, again, mask_seen=True),
    }


def main() -> None:
    """Train each encoder, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    options = made.parse_args()
    console = Console(stderr=True)
    models = {encoder: run(encoder, options.set, console) for encoder in options.encoders}
    chosen = max(models, key=lambda name: float(models[name]["validation"][f"ndcg@{K}"]))
    emit(
        {
            "protocol": "last_out, full_catalog, seen items not masked (test_seen_masked: masked), "
            "histories with the validation item, refit on training and validation rows",
            "overrides": options.set,
            "chosen_on_validation": chosen,
            "metrics": models[chosen]["test"],
            "models": models,
            "peak_memory_gb": round(peak_memory_gb(), 2),
        },
        "amazon_beauty",
        save=options.save,
    )


if __name__ == "__main__":
    main()
