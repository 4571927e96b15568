"""How the README words each result of a benchmark."""

from __future__ import annotations

import statistics
from typing import Any

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
KINDS = {"hnsw": "FAISS (HNSW)", "pgvector": "pgvector", "milvus": "Milvus Lite"}


def mean_of(figure: dict[str, float], digits: int = 3) -> str:
    """A mean over runs, with its standard deviation where there were several."""
    told = f"{figure['mean']:.{digits}f}"
    deviation = f"{figure['deviation']:.{digits}f}"
    return told if float(deviation) == 0 else f"{told} ± {deviation}"


def quality(result: dict[str, Any]) -> str:
    """Recall@20 / NDCG@20, the time, the memory."""
    metrics, minutes = result["metrics"], result["cpu_seconds"] / 60
    return (
        f"{metrics['recall@20']:.4f} / {metrics['ndcg@20']:.4f}, {minutes:.0f} min, "
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
    """Recall@10 / NDCG@10 of each encoder, and without the second fit."""
    cells = []
    for name, model in result["models"].items():
        told = [model["test"], model["test_without_refit"]["seen_masked"]]
        figures = [f"{one['recall@10']:.4f} / {one['ndcg@10']:.4f}" for one in told]
        cells.append(f"{name} {', '.join(figures)}")
    return "; ".join(cells)


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
        for name in (
            "two_tower",
            "two_tower_showing_more",
            "two_tower_showing_as_many",
            "dropout_net",
            "ids_only",
        )
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


def solvers(result: dict[str, Any]) -> str:
    """CPU seconds and quality of both ways to solve iALS, for each data set and dimension."""
    return "; ".join(
        f"{name}, d = {dim}: {of['conjugate']['cpu_s_an_epoch']:.2g} against "
        f"{of['exact']['cpu_s_an_epoch']:.2g} s, {of['conjugate']['best_ndcg']:.4f} against "
        f"{of['exact']['best_ndcg']:.4f}"
        for name, dims in result["sets"].items()
        for dim, of in dims.items()
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
        seconds = statistics.median(
            of["models"][name]["seconds"] for of in result["cells"].values()
        )
        told.append(
            f"{CONTENDERS[name]}: ahead of the best baseline in {found['ahead']}, level in "
            f"{found['level']}, behind in {found['behind']}{most}; median {seconds:.1f} CPU s, "
            f"{ratio:.1f} times the slowest baseline's"
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


def index_of_millions(result: dict[str, Any]) -> str:
    """Cost of building, memory while serving, recall and cost of a search."""
    built, served = result["build"]["encode_and_index"], result["serve"]["search"]
    peak = max(phase["rss_gb"] for phase in result["build"].values())
    return (
        f"{built['cpu_seconds']:.0f} CPU s, at most {peak:.1f} GB until it is saved; served in "
        f"{served['rss_gb']:.1f} GB, of which {served['anonymous_gb']:.1f} are not pages of mapped "
        f"files; recall@100 {served['recall@100']:.3f}, {served['p50_cpu_ms']:.0f} CPU ms a search"
    )


def databases(result: dict[str, Any]) -> str:
    """Build, memory, latency and recall of each kind of index, without a filter and with two."""
    cells = []
    for kind, name in KINDS.items():
        if kind not in result:
            continue
        of = result[kind]
        filters = "; ".join(
            f"{told} {search(of[share])}"
            for share, told in (("keeps_1", "all"), ("keeps_0.1", "10% kept"), ("keeps_0.01", "1%"))
        )
        cells.append(
            f"{name}: built in {of['build_seconds']:.0f} s, {of['memory_mb']:,.0f} MB, {filters}"
        )
    return ". ".join(cells)


def search(found: dict[str, Any]) -> str:
    """Latency and recall of the searches by one filter."""
    if "given_up" in found:
        return "takes longer than a service waits"
    return (
        f"{found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f}, recall@10 {found['recall@10']:.2f}"
    )


def all_users(result: dict[str, Any]) -> str:
    """By the clock and by the CPU time."""
    return (
        f"{result['users_per_second']:,} users a second on {result['configuration']['threads']} "
        f"cores, {result['users_per_cpu_second']:,} a CPU second"
    )


def beside_hostile(result: dict[str, Any]) -> str:
    """Failures, latency and memory of good clients beside hostile ones."""
    alone, beside = result["alone"], result["beside_hostile"]
    workers = result["configuration"]["workers"]
    return (
        f"{workers} worker{'s' if workers > 1 else ''}: {beside['requests']:,} requests, "
        f"{beside['failed']} failed; p99 {beside['p99_ms']:.0f} "
        f"ms, alone {alone['p99_ms']:.0f} ms; memory "
        f"{result['memory_growth_of_the_last_third']:+.1%} in the last third"
    )


def beside_learners(result: dict[str, Any]) -> str:
    """Failures and latency of good clients beside learners."""
    alone, beside = result["alone"], result["beside_learners"]
    return (
        f"{beside['requests']:,} requests, {beside['failed']} failed; p99 {beside['p99_ms']:.0f} "
        f"ms, alone {alone['p99_ms']:.0f} ms"
    )
