"""What a view shows as a notebook that runs without the service: its data and the code that shows
them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray

from twotower.course.contents import steps
from twotower.course.notebooks import step_notebook
from twotower.data.arrays.ranked import POPULAR
from twotower.lessons.notebooks import notebook
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.answer.resolve_request import paths_of, query_vectors
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.live.worker import Worker
from twotower.web.errors import ApiError
from twotower.web.routes.base import ScopedRoute, service_of
from twotower.web.studio.architecture.graph import graph
from twotower.web.studio.lessons import READ, notebook_response
from twotower.web.studio.map import names, tastes
from twotower.web.wire import RecommendationRequest

MAX_ITEMS: Final = 2_000
"""Items of the map in a notebook; of a larger catalogue those with most interactions."""

ANSWER: Final = """\
```python
import json

import numpy as np
import polars as pl

answer = json.loads({data})
items = answer["items"]
print("For", answer["user_id"] or "a custom user", "by version", answer["model_version"])
print("Path of the answer:", answer["path"])
shown = [{{"item": one["item_id"], "name": one["name"], **one["scores"]}} for one in items]
pl.DataFrame(shown, strict=False)
```

The score of the towers is the inner product of the query vector and the vector of the item. Here
it is computed again from the vectors.

```python
query, vectors = np.array(answer["query_vector"]), np.array(answer["item_vectors"])
scores = vectors @ query if len(query) else np.array([one["score"] for one in items])
for one, score in zip(items, scores, strict=True):
    print(f"{{score:8.3f}}  {{one['name']}}  ({{one['reason']}})")
```

```python
import matplotlib.pyplot as plt

figure, plot = plt.subplots(figsize=(7, 0.35 * len(scores) + 1), layout="constrained")
plot.barh([one["name"] for one in items], scores, color="#0a7567")
plot.invert_yaxis()
plot.set(xlabel="inner product with the query vector" if len(query) else "score")
plt.show()
```
"""

MAP: Final = '''\
```python
import json

import numpy as np

items = json.loads({data})
vectors = np.array(items["vectors"])
print(vectors.shape)
```

The first two principal components, and the share of the variance that they keep:

```python
centred = vectors - vectors.mean(axis=0)
left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
points = centred @ axes[:2].T
print(f"{{(sizes[:2] ** 2).sum() / (sizes**2).sum():.1%}} of the variance")
```

```python
import matplotlib.pyplot as plt

figure, plot = plt.subplots(figsize=(8, 7), layout="constrained")
plot.scatter(*points.T, s=9, c=np.log1p(items["interactions"]), cmap="viridis")
for place in np.argsort(items["interactions"])[::-1][:15]:
    plot.annotate(items["name"][place], points[place], fontsize=7)
plot.set(xticks=[], yticks=[], title="Items; the 15 with most interactions are named")
plt.show()
```

What is near on the map need not be near in the space of all dimensions. The true neighbours of an
item:

```python
def similar(name, k=10):
    """The k items whose vectors point most in the direction of the item's."""
    scores = vectors @ vectors[items["name"].index(name)]
    return [(items["name"][n], round(float(scores[n]), 3)) for n in np.argsort(-scores)[:k]]


similar(items["name"][0])
```
'''

ARCHITECTURE: Final = """\
```python
import json

import polars as pl

nodes = json.loads({data})
print(f"{{sum(node['params'] for node in nodes):,}} parameters")
pl.DataFrame([{{key: node[key] for key in ("part", "title", "shape", "params")}} for node in nodes])
```

The same settings on a synthetic shop, trained for two epochs. To use your own tables, give their
paths to `twotower init`, and these settings to `tt.load_config`.

```python
import tempfile
from pathlib import Path

import twotower as tt
from twotower.data.synthetic.shop import generate, write

settings = json.loads({settings})
folder = Path(tempfile.mkdtemp())
shop = generate(num_users=300, num_items=150, num_interactions=6_000, seed=0)
(folder / "shop.toml").write_text(write(shop, folder))
config = tt.load_config(folder / "shop.toml", [*settings, "training.epochs=2"])
data = tt.Dataset.read(config)
train, validation, test = data.split()
model = tt.fit(tt.TwoTower(config.retriever, data.schema), train, validation, config=config)
model
```

```python
recommender = tt.Recommender.build(model, train, config)
recommender.recommend(shop.users["user_id"][0], k=5)
```
"""


QUALITY: Final = """\
```python
import json

import polars as pl

quality = json.loads({data})
evaluation = quality["evaluation"] or {{}}
print("Measured on", evaluation.get("num_queries"), "users,", evaluation.get("num_items"), "items")
metrics = evaluation.get("metrics", {{}})
pl.DataFrame({{"metric": list(metrics), "value": list(metrics.values())}})
```

By slice: warm and cold users and items, and the baselines on all users.

```python
slices = {{"all": metrics, **evaluation.get("slices", {{}}), **evaluation.get("baselines", {{}})}}
pl.DataFrame([{{"slice": name, **figures}} for name, figures in slices.items()], strict=False)
```

The training: loss and validation metric of each epoch.

```python
import matplotlib.pyplot as plt

for stage, run in quality["curves"].items():
    shown = ["loss", *([run["metric"]] if run.get("metric") else [])]
    figure, plots = plt.subplots(1, len(shown), figsize=(5 * len(shown), 3), squeeze=False,
                                 layout="constrained")
    for plot, name in zip(plots[0], shown, strict=True):
        points = [(one["epoch"], one[name]) for one in run["epochs"] if one.get(name) is not None]
        plot.plot(*zip(*points, strict=True), "o-", markersize=3)
        plot.set(title=f"{{stage}}: {{name}}", xlabel="epoch", ylabel=name)
    plt.show()
```

The comparison with other models, if one was made.

```python
comparison = quality["comparison"]
rows = [
    {{"model": model["title"], **{{k: v["mean"] for k, v in model["metrics"].items()}}}}
    for model in (comparison["models"] if comparison else [])
]
print(comparison["verdict"] if comparison else "No comparison was made: see `twotower compare`.")
pl.DataFrame(rows, strict=False)
```
"""


async def live(request: Request) -> OverlaidModel:
    """The active version."""
    return await service_of(request).run_on_worker(lambda worker: worker.active())


Live = Annotated[OverlaidModel, Depends(live)]


def share_routes() -> APIRouter:
    """A notebook for each of the views that can be shared."""
    router = APIRouter(prefix="/studio/api/share", route_class=ScopedRoute, include_in_schema=False)

    @router.post("/answer", openapi_extra=READ)
    async def answer(body: RecommendationRequest, request: Request) -> Response:
        asked = body.to_request()
        service = service_of(request)
        found = (await service.recommend([asked]))[0]
        document = await service.run_on_worker(lambda worker: answer_document(found, worker, asked))
        # Not on the thread that answers requests.
        text = f"# Recommendations\n\n{ANSWER.format(data=literal(document))}"
        content = await run_in_threadpool(notebook, text)
        return notebook_response(content, "recommendations")

    @router.get("/map", openapi_extra=READ)
    def items(model: Live) -> Response:
        return notebook_response(map_notebook(model.served), "map")

    @router.get("/architecture", openapi_extra=READ)
    def architecture(model: Live) -> Response:
        return notebook_response(architecture_notebook(model.served), "architecture")

    @router.get("/course/{slug}", openapi_extra=READ)
    def course(slug: str) -> Response:
        if slug not in (step.slug for step in steps()):
            raise ApiError("not_found", f"no such step: {slug!r}", "see /studio/api/course")
        return notebook_response(step_notebook(slug), slug)

    return router


def answer_document(found: Recommendation, worker: Worker, asked: AnswerRequest) -> dict[str, Any]:
    """Recommendations with the vectors that the towers' scores come from."""
    model, request = worker.resolve(asked)
    nums = np.array(model.catalogue.nums([item.item_id for item in found.items]), dtype=np.int64)
    is_scored = paths_of([request], model)[0] != POPULAR
    vectors = model.stages.index.vectors_of(nums) if is_scored else np.zeros((len(nums), 0))
    query = query_vectors([request], model)[0] if is_scored else np.zeros(0)
    shown = [name for _, name in model.catalogue.names(nums.tolist())]
    return {
        "user_id": found.user_id,
        "model_version": found.model_version,
        "path": found.path,
        "items": [
            {
                "item_id": item.item_id,
                "name": name,
                "score": item.score,
                "scores": dict(item.stage_scores),
                "reason": item.reason,
            }
            for item, name in zip(found.items, shown, strict=True)
        ],
        "query_vector": rounded(query),
        "item_vectors": rounded(vectors),
    }


def map_notebook(served: ServedModel) -> str:
    """The directions of the item vectors, with names."""
    nums = served.index.item_nums
    counts = served.item_counts[nums]
    chosen = nums[np.sort(np.argsort(-counts, kind="stable")[:MAX_ITEMS])]
    document = {
        "name": names(served.items).gather(chosen).to_list(),
        "interactions": served.item_counts[chosen].tolist(),
        "vectors": rounded(tastes(served, chosen), 4),
    }
    text = f"# Map of the items\n\n{len(chosen):,} of {len(nums):,} items, by their vectors.\n\n"
    return notebook(text + MAP.format(data=literal(document)))


def architecture_notebook(served: ServedModel) -> str:
    """The components, and the settings that differ from the defaults, to train with again."""
    nodes = [node for node in graph(served)["nodes"] if node["present"]]
    retriever = served.config.retriever
    settings = [
        f"retriever.{name}={json.dumps(value)}"
        for name, value in retriever.model_dump(mode="json", exclude_defaults=True).items()
    ]
    text = "# Architecture\n\nThe components of a trained model, with the shapes of their outputs "
    text += "and their parameters.\n\n"
    return notebook(text + ARCHITECTURE.format(data=literal(nodes), settings=literal(settings)))


def quality_notebook(document: dict[str, Any]) -> str:
    """What the view Quality shows: metrics, slices, curves, comparison."""
    return notebook(f"# Quality\n\n{QUALITY.format(data=literal(document))}")


def rounded(numbers: NDArray[np.floating], digits: int = 6) -> list[Any]:
    """Numbers with fewer digits, for a smaller file."""
    found: list[Any] = np.asarray(numbers, dtype=np.float64).round(digits).tolist()
    return found


def literal(document: Any) -> str:
    """JSON as a Python literal in one line. Names and ids enter a notebook in no other way: in its
    text they could end a paragraph and begin a program."""
    return repr(json.dumps(document, ensure_ascii=False, default=str))
