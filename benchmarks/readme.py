"""Writes the README's table from benchmarks/results/*.json: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)

Row = tuple[str, str, Callable[[dict[str, Any]], str]]


def mean_of(figure: dict[str, float], digits: int = 3) -> str:
    """A mean over runs, with its standard deviation where there were several."""
    told = f"{figure['mean']:.{digits}f}"
    deviation = f"{figure['deviation']:.{digits}f}"
    return told if float(deviation) == 0 else f"{told} ± {deviation}"


def quality(result: dict[str, Any]) -> str:
    """Recall@20 / NDCG@20, the time, the memory."""
    metrics = result["metrics"]
    return (
        f"{metrics['recall@20']:.4f} / {metrics['ndcg@20']:.4f}, {result['seconds'] / 60:.0f} min, "
        f"{result['peak_memory_gb']:.2f} GB"
    )


def features(result: dict[str, Any]) -> str:
    """ndcg@20 of ids only, features and popularity by slice."""
    cells = []
    for part in ("warm", "cold_user", "cold_item"):
        values = [
            result["models"][model]["slices"][part]["ndcg@20"]
            for model in ("ids_only", "features", "popularity")
        ]
        cells.append(f"{part.replace('_', ' ')} {' / '.join(f'{value:.3f}' for value in values)}")
    return "; ".join(cells)


def next_item(result: dict[str, Any]) -> str:
    """Recall@10 / NDCG@10 of each encoder."""
    return "; ".join(
        f"{name} {model['test']['recall@10']:.4f} / {model['test']['ndcg@10']:.4f}"
        for name, model in result["models"].items()
    )


def new_items(result: dict[str, Any]) -> str:
    """ndcg@20 among the cold items, by model."""
    found = result["cold_items_alone"]
    return "; ".join(
        f"{name.replace('_', ' ')} {mean_of(found[name]['ndcg@20'])}"
        for name in ("two_tower", "dropout_net", "content_neighbours", "popularity")
    )


def among_all(result: dict[str, Any]) -> str:
    """ndcg@20 of warm rows and of cold items, both among the whole catalogue, by model."""
    found = result["whole_catalogue"]
    return "; ".join(
        f"{name.replace('_', ' ')} {mean_of(found[name]['warm']['ndcg@20'])} / "
        f"{mean_of(found[name]['cold_item']['ndcg@20'])}"
        for name in ("two_tower", "two_tower_showing_as_many", "dropout_net", "ids_only")
    )


def factorized(result: dict[str, Any]) -> str:
    """HR@10 / NDCG@10 of the test items, by model: means over seeds."""
    return by_seeds({name: model["test"] for name, model in result["models"].items()})


def sampled(result: dict[str, Any]) -> str:
    """HR@10 / NDCG@10 of the test items, by model: means over seeds."""
    return by_seeds(result["test"])


def by_seeds(found: dict[str, Any]) -> str:
    """Model -> figures over seeds, as a line."""
    return "; ".join(
        f"{TITLES.get(name, name)} {mean_of(figures['hr@10'], 4)} / "
        f"{mean_of(figures['ndcg@10'], 4)}"
        for name, figures in found.items()
    )


def pairs_a_second(result: dict[str, Any]) -> str:
    """Of both readings of the paper's layers."""
    readings = result["readings"]
    return (
        f"{readings['paper']['pairs_per_second']:,} pairs/s, "
        f"{readings['paper']['step_over_floor']:.1f} times the floor; with a layer of 64 more "
        f"{readings['recbole']['pairs_per_second']:,} pairs/s"
    )


def ranking(result: dict[str, Any]) -> str:
    """One user's candidates, and many users'."""
    one, many = (result["figures"][f"ranker, {n} x 100, 1 threads"] for n in (1, 64))
    return f"{one['milliseconds']:.2f} ms; 64 users at once {many['pairs_per_second']:,} pairs/s"


def new_users(result: dict[str, Any]) -> str:
    """ndcg@20 by the number of interactions known."""
    points = ", ".join(f"{p['interactions']}: {p['ndcg@20']:.3f}" for p in result["curve"])
    return f"{points}; popularity {result['popularity']['ndcg@20']:.3f}"


def ablation(result: dict[str, Any]) -> str:
    """ndcg@10 by what the towers read, beside what could be reached by that, and what each kind of
    feature recovers of its signal."""
    models = result["models"]
    cells = []
    for name, row in models.items():
        known = f" of {row['ceiling']['mean']:.3f}" if "ceiling" in row else ""
        cells.append(f"{name} {mean_of(row['ndcg@10'])}{known}")
    shares = [
        f"{name[2:]} {row[f'recovered_{name[2:]}']['mean']:.2f}"
        for name, row in models.items()
        if name.startswith("+ ")
    ]
    return f"{'; '.join(cells)}; of each planted effect: {', '.join(shares)}"


def training(result: dict[str, Any]) -> str:
    """Pairs/s of both steps, and how far from the floor."""
    in_batch, recipe = result["in_batch"], result["recipe"]
    return (
        f"{in_batch['pairs_per_second']:,} pairs/s, {in_batch['step_over_floor']:.2f} times the "
        f"floor; default recipe {recipe['pairs_per_second']:,} pairs/s, "
        f"{recipe['step_over_floor']:.2f} times; plain autograd and dense Adam "
        f"{result['plain']['pairs_per_second']:,} pairs/s"
    )


def history_speed(result: dict[str, Any]) -> str:
    """Sequences/s of the encoder, and how far from its products."""
    encoder, step = result["encoder"], result["training_step"]
    return (
        f"{encoder['sequences_per_second']:,} sequences/s, {encoder['over_products']:.2f} times "
        f"its matrix products; whole training step {step['sequences_per_second']:,}"
    )


def feature_speed(result: dict[str, Any]) -> str:
    """The ratio."""
    return f"{result['speed_of_ids_only']:.2f} of the speed"


def evaluation(result: dict[str, Any]) -> str:
    """Seconds and memory."""
    return f"{result['evaluate_seconds']:.1f} s, {result['peak_memory_gb']:.2f} GB"


def formats(result: dict[str, Any]) -> str:
    """How many public formats are read, and how many are refused."""
    return (
        f"{result['formats']} formats: {result['as_it_is']} read as they are, "
        f"{result['one_edit']} with the edit that a message asks for, {result['refused']} that are "
        f"not interactions refused with the cause, {result['wrong']} wrong"
    )


def processes(result: dict[str, Any]) -> str:
    """How much faster two are, by recipe and batch."""
    told = [
        f"{step['recipe']} {step['batch_size']:,} queries {step['speedup']:.2f}"
        for step in result["steps"]
    ]
    return "; ".join(told)


def heavy_user(result: dict[str, Any]) -> str:
    """CPU seconds of the largest run with a history, and the largest ratios of all."""
    rows, run = max(result["cases"]["history"].items(), key=lambda entry: int(entry[0]))
    one, many = (run[users]["cpu_seconds"] for users in ("one_user", "many_users"))
    ratios = [run["ratio"] for case in result["cases"].values() for run in case.values()]
    seconds, memory = (
        max(ratio[what] for ratio in ratios) for what in ("cpu_seconds", "peak_memory_gb")
    )
    return (
        f"{int(rows):,} rows with a history: {one:.1f} CPU s against {many:.1f}; of "
        f"{len(result['cases'])} losses, rankers and baselines at most {seconds:.2f} times the "
        f"time and {memory:.2f} times the memory"
    )


def larger_than_memory(result: dict[str, Any]) -> str:
    """The time of reading, and the peak memory."""
    phases = result["phases"]
    seconds = sum(phases[name]["cpu_seconds"] for name in ("read_and_split", "number"))
    return (
        f"{seconds:.0f} CPU s; {result['peak_rss_gb']:.1f} GB, of which "
        f"{result['peak_anonymous_gb']:.1f} are not pages of mapped files"
    )


def reading(result: dict[str, Any]) -> str:
    """Seconds and memory."""
    return f"{result['seconds']:.1f} s, {result['peak_memory_gb']:.2f} GB"


def classics(result: dict[str, Any]) -> str:
    """Recall@20 / NDCG@20 of each baseline."""
    return "; ".join(
        f"{TITLES.get(name, name)} {mean_of(model['test']['recall@20'], 4)} / "
        f"{mean_of(model['test']['ndcg@20'], 4)}"
        for name, model in result["models"].items()
    )


def answers(result: dict[str, Any]) -> str:
    """One answer in process and over HTTP, without and with the ranker."""
    ranked = result["with_ranker"]["in_process"]["recommendation"]
    plain = result["in_process"]["recommendation"]
    http = result["over_http"]["one_connection"]
    return (
        f"{plain['p50_ms']:.1f} ms, p99 {plain['p99_ms']:.1f}; over HTTP {http['p50_ms']:.1f} ms, "
        f"p99 {http['p99_ms']:.1f}; ranking 100 candidates, too, {ranked['p50_ms']:.1f} ms, p99 "
        f"{ranked['p99_ms']:.1f}"
    )


def on_a_gpu(result: dict[str, Any]) -> str:
    """Quality, and speed of the steps, in bf16."""
    gowalla, neumf, in_batch = result["gowalla"], result["neumf"], result["in_batch"]
    metrics, sequences = gowalla["metrics"], result["transformer"]["batch_4096"]["bf16"]
    softmax = "; ".join(
        f"{size:,} pairs {in_batch[f'batch_{size}']['bf16']['pairs_per_second'] / 1e6:.2f} M/s"
        for size in (8_192, 65_536)
    )
    return (
        f"gowalla {metrics['recall@20']:.4f} / {metrics['ndcg@20']:.4f} in "
        f"{gowalla['seconds']:.0f} s; NeuMF at ML-20M's size "
        f"{neumf['bf16']['pairs_per_second'] / 1e6:.0f} M pairs/s, compiled "
        f"{neumf['bf16_compiled']['pairs_per_second'] / 1e6:.0f} M (published for an A100: "
        f"{neumf['pairs_per_second_published_a100'] / 1e6:.1f} M); in-batch softmax of {softmax}; "
        f"transformer {sequences['sequences_per_second']:,} sequences/s"
    )


def load(result: dict[str, Any]) -> str:
    """Requests a second on the most connections whose p99 is below 50 ms."""
    told = []
    for name, runs in (
        ("", result["load"]),
        (" with the ranker", result["with_ranker"]["load"]),
    ):
        best = max(
            (run for run in runs if run["p99_ms"] < 50), key=lambda run: run["requests_per_second"]
        )
        told.append(
            f"{best['requests_per_second']:,.0f} requests/s{name}, p99 {best['p99_ms']:.0f} ms"
        )
    long = result["long"]
    told.append(f"{long['seconds'] / 60:.0f} minutes of load: memory {long['memory_growth']:+.1%}")
    return "; ".join(told)


def swapping(result: dict[str, Any]) -> str:
    """What became of the requests meanwhile."""
    found = result["swaps"]
    return (
        f"{found['swaps']} swaps, {found['answers']:,} answers, {found['failed_or_mixed']} failed "
        f"or mixed, memory {found['memory_growth']:+.1%}"
    )


def filtered(result: dict[str, Any]) -> str:
    """Median time and recall@10 of one search by the share that a filter keeps."""
    found = result["hnsw"]
    return "; ".join(
        f"{float(name.removeprefix('keeps_')):.1%} kept {part['p50_ms']:.2f} ms, "
        f"recall {part['recall@10']:.2f}"
        for name, part in found.items()
        if name.startswith("keeps_")
    )


def durable(result: dict[str, Any]) -> str:
    """Events a second of each store."""
    return "; ".join(
        f"{STORES[name]} {found['batches_of_100_16_writers']['events_per_second']:,}"
        for name, found in result["stores"].items()
    )


def comparison(result: dict[str, Any]) -> str:
    """ndcg@10 of each model, all rows / warm rows, and how far the best one is from the reference,
    with the largest p of the seeds."""
    models, metric = result["models"], result["metric"]
    scores = "; ".join(
        f"{model['title']} {mean_of(model[metric]['all'])} / {mean_of(model[metric]['warm'])}"
        for model in models.values()
    )
    references = " or ".join(dict.fromkeys(models[name]["title"] for name in result["references"]))
    best = next(iter(models.values()))
    if not best["difference"]:
        return scores
    gaps = " / ".join(mean_of(best["difference"][part], 4) for part in ("all", "warm"))
    p_values = " / ".join(f"{best['largest_p_holm'][part]:.2g}" for part in ("all", "warm"))
    seeds = len(result["references"])
    return (
        f"{scores}; {best['title']} minus {references} {gaps}, the largest p (Holm) of {seeds} "
        f"seeds {p_values}"
    )


def robust(result: dict[str, Any]) -> str:
    """In how many cells each contender is ahead, level or behind, with the largest loss."""
    told = []
    for name, found in result["verdicts"].items():
        cells = {cell: of["contenders"][name] for cell, of in result["cells"].items()}
        losses = {
            cell: 1 - of["models"][name]["ndcg@20"] / of["models"][of["best_baseline"]]["ndcg@20"]
            for cell, of in result["cells"].items()
            if cells[cell]["verdict"] == "behind"
        }
        worst = max(losses, key=lambda cell: losses[cell], default=None)
        most = "" if worst is None else f", most in {worst} ({losses[worst]:.0%})"
        ratio = statistics.median(cell["time_ratio"] for cell in cells.values())
        told.append(
            f"{CONTENDERS[name]}: ahead of the best baseline in {found['ahead']}, level in "
            f"{found['level']}, behind in {found['behind']}{most}, median time {ratio:.1f} times "
            "the slowest baseline's"
        )
    return f"{len(result['cells'])} cells; {'; '.join(told)}"


def scaling(result: dict[str, Any]) -> str:
    """Epoch, pairs/s and memory of each size, and how the time grows."""
    told = []
    for name, of in result["sizes"].items():
        size = f"{of['rows'] / 1e6:,.3g} M rows x {of['items']:,} items"
        memory = max(of["memory_gb"].values())
        told.append(
            f"{size}: epoch {of['epoch_seconds']:,.0f} s, {of['pairs_per_second']:,} pairs/s "
            f"({result['pairs_share'][name]:.0%} of gowalla's size), {memory:.1f} GB"
        )
    return (
        f"{'; '.join(told)}; time by rows at the same items: exponent {result['exponents']['all']}"
    )


CONTENDERS = {"files": "a config that names files only", "init": "what `init` writes"}
TITLES = {
    "ease": "EASE",
    "ials": "iALS",
    "bpr_mf": "BPR-MF",
    "item_knn": "item-kNN",
    "svd": "SVD",
    "logistic_mf": "logistic MF",
    "gmf": "GMF",
    "mlp": "MLP",
    "neumf": "NeuMF",
    "two_tower": "two-tower",
}
STORES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

ROWS: list[Row] = [
    (
        "gowalla, ids only, d = 64: Recall@20 / NDCG@20, time with refit, peak memory",
        "gowalla",
        quality,
    ),
    ("yelp2018, the same", "yelp2018", quality),
    (
        "the defaults against popularity, recent popularity, item-kNN, EASE and iALS, ndcg@20",
        "robust",
        robust,
    ),
    ("gowalla, baselines: Recall@20 / NDCG@20", "baselines_gowalla", classics),
    ("yelp2018, baselines", "baselines_yelp2018", classics),
    (
        "ml-1m with features, new users and items held out, all tuned alike: ndcg@10 of all rows / "
        "of warm rows",
        "ml_1m_compare",
        comparison,
    ),
    (
        "ml-1m, ndcg@20 of ids only / with features / popularity, by slice",
        "ml_1m_features",
        features,
    ),
    (
        "amazon-beauty, next item: Recall@10 / NDCG@10 of the history's encoders",
        "amazon_beauty",
        next_item,
    ),
    ("ml-1m, new items among themselves, ndcg@20", "ml_1m_cold_items", new_items),
    (
        "the same among the whole catalogue, ndcg@20 of warm rows / of new items; showing as many: "
        "new items have as many places of the lists as in DropoutNet's",
        "ml_1m_cold_items",
        among_all,
    ),
    (
        "ml-1m, new users by the number of known interactions, ndcg@20",
        "ml_1m_cold_users",
        new_users,
    ),
    (
        "synthetic shop, ndcg@10 of what could be reached, a kind of feature at a time",
        "synthetic_ablation",
        ablation,
    ),
    (
        "ncf-ml-1m, matrix factorization, the paper's 99 negatives: HR@10 / NDCG@10",
        "ncf_ml_1m",
        factorized,
    ),
    (
        "ncf-ml-1m, neural models of ids only, the same negatives: HR@10 / NDCG@10",
        "ncf_neumf",
        sampled,
    ),
    (
        "ncf-ml-1m, two towers that read the mean of a history, the same negatives",
        "ncf_history",
        lambda result: by_seeds({"two_tower": result["test"]}),
    ),
    ("NeuMF training, 32 factors, 4 negatives a positive, 2 cores", "ncf_speed", pairs_a_second),
    ("ranking 100 candidates of a user with all features, 1 core", "rank_speed", ranking),
    ("in-batch softmax, 2,048 pairs, d = 64, gowalla's size", "train_speed", training),
    ("a config that names files only, as the data grow, one thread", "scale", scaling),
    (
        "transformer history, 256 sequences of 50, d = 64, forward and backward",
        "history_speed",
        history_speed,
    ),
    ("one NVIDIA H200, bf16", "gpu", on_a_gpu),
    (
        "training with all of ml-1m's features against ids only",
        "feature_speed",
        feature_speed,
    ),
    ("one answer from a million items, median", "serve_load", answers),
    ("the service under load, 2 workers on 2 cores with the load generator", "serve_load", load),
    ("HNSW with filters, a search of a million vectors, 1 core", "index_speed", filtered),
    ("swapping models under load", "serve_load", swapping),
    ("durable events a second, batches of 100, 16 writers", "events_speed", durable),
    ("evaluating all gowalla users over all items", "evaluate_speed", evaluation),
    ("10 million interactions from Parquet to numbered arrays", "read_speed", reading),
    (
        "a log larger than memory: 100 million rows of 5 million users and 1 million items read, "
        "split and numbered; with training of ids, the peak memory",
        "out_of_core",
        larger_than_memory,
    ),
    (
        "two processes on two cores against one on one core, 1 million rows: times as fast, by "
        "what a step contrasts with and its queries",
        "processes",
        processes,
    ),
    ("an epoch with one user of all rows against the same rows of many", "heavy_user", heavy_user),
    ("files in the formats of public data sets, from `init` to `evaluate`", "formats", formats),
]


COMMANDS = {
    **{
        f"ml_1m_cold_{part}": f"python -m benchmarks.ml_1m_cold --part {part}"
        for part in ("items", "users")
    },
    **{
        f"baselines_{name}": f"python -m benchmarks.baselines {name}"
        for name in ("gowalla", "yelp2018")
    },
    "robust": "python -m benchmarks.robust --contenders files",
}
"""Of results that are not named after their module, or have arguments."""


def table() -> str:
    """The block between the markers; a benchmark without a committed result has no row."""
    lines = ["| what | measured | command |", "|---|---|---|"]
    for what, name, word in ROWS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            command = COMMANDS.get(name, f"python -m benchmarks.{name}")
            lines.append(f"| {what} | {word(result)} | `{command}` |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the table into the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda found: found[1] + table() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
