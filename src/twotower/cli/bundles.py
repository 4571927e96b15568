"""The commands that query a bundle or add items to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from twotower.cli.shared import (
    BundleArgument,
    EventsOption,
    JsonOption,
    KOption,
    RayOption,
    VerifyKeyOption,
    app,
    err,
    out,
    print_json,
    store_of,
)

if TYPE_CHECKING:
    from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
    from twotower.serving.answer.recommender import Recommender
    from twotower.serving.live.store_recommender import StoreRecommender

LONGEST_CELL = 60
"""Characters of a value shown in a table cell."""


@contextmanager
def opened(
    bundle: Path, events: str | None, verify_key: Path | None
) -> Iterator[Recommender | StoreRecommender]:
    """A bundle, and the event store of its service where there is one."""
    from twotower.serving.answer.recommender import Recommender
    from twotower.serving.live.store_recommender import StoreRecommender

    with store_of(bundle, events) as store:
        if store is None:
            yield Recommender.load(bundle, verify_key=verify_key)
        else:
            from twotower.serving.bundle.signing import VerifyKey

            key = None if verify_key is None else VerifyKey(verify_key)
            yield StoreRecommender(bundle, store, key)


@app.command()
def recommend(
    bundle: BundleArgument,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="One user id.")] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="All users, written to the --out file.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.parquet", help="Output file for --all-users."),
    ] = None,
    k: KOption = 10,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: most relevant items; 1: most dissimilar.")
    ] = 0.0,
    events: EventsOption = None,
    ray: RayOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to one user, or to all users into a Parquet file.

    With an event store the answers are those of the service: removed and hidden items are left out,
    events count as seen, and what the bundle knows of forgotten users is not used.

    Example: twotower recommend shop/bundle --user u42 --k 5
    """
    if all_users == (user is not None):
        raise typer.BadParameter("give either --user ID or --all-users")
    if all_users != (file is not None):
        raise typer.BadParameter("--all-users and --out FILE.parquet go together")
    if ray is not None and not all_users:
        raise typer.BadParameter("--ray is for --all-users")
    with opened(bundle, events, verify_key) as recommender:
        if file is not None:
            from twotower.workflow.recommend_all import write_recommendations

            rows = write_recommendations(
                recommender,
                file,
                k=k,
                diversity=diversity,
                progress=err,
                ray=ray,
                bundle=bundle,
            )
            if as_json:
                print_json({"file": str(file), "rows": rows})
            else:
                out.print(f"Wrote {rows:,} rows to {escape(str(file))}.")
            return
        assert user is not None
        answer = recommender.recommend(user, k, diversity=diversity)
    if as_json:
        print_json(recommendation_json(answer))
    else:
        out.print(items_table(answer.items, f"For user {answer.user_id} (path: {answer.path})"))


@app.command()
def similar(
    bundle: BundleArgument,
    item: Annotated[str, typer.Option("--item", metavar="ID", help="Item id.")],
    k: KOption = 10,
    events: EventsOption = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the items most similar to an item, by vector.

    Example: twotower similar shop/bundle --item i7
    """
    with opened(bundle, events, verify_key) as recommender:
        items = recommender.similar(item, k)
    if as_json:
        print_json({"item_id": item, "items": [item_json(entry) for entry in items]})
    else:
        out.print(items_table(items, f"Similar to {item}"))


@app.command("add-items")
def add_items(
    bundle: BundleArgument,
    file: Annotated[str, typer.Argument(help="New items: file, folder or SQL URI.")],
    new: Annotated[
        Path | None,
        typer.Option("--out", metavar="BUNDLE", help="New bundle. Default: next to BUNDLE."),
    ] = None,
    verify_key: VerifyKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a new version of a bundle with additional items, without retraining.

    Example: twotower add-items shop/bundle new.csv --out shop/bundle-2
    """
    from dataclasses import asdict

    from twotower.workflow.add_items import add_items as run

    added = run(bundle, file, new, verify_key)
    if as_json:
        print_json({**asdict(added), "bundle": str(added.bundle)})
        return
    for note in added.notes:
        err.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False)
    out.print(
        f"Added {added.items:,} items, {added.vectors:,} of them with a vector; the catalogue now "
        f"has {added.catalogue:,} items.",
        highlight=False,
    )
    out.print(f"Wrote {escape(str(added.bundle))}.", highlight=False)


@app.command()
def vectors(
    source: Annotated[
        Path, typer.Argument(metavar="BUNDLES", help="A bundle, or a folder of bundles.")
    ],
    drop_unused: Annotated[
        bool,
        typer.Option(
            "--drop-unused",
            help="Remove the tables that belong to no version in BUNDLES; those of other folders "
            "are among them.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the tables of the vector database, and remove those of deleted versions.

    Where index.kind is pgvector or milvus, each version of a model has a table of its own.

    Example: twotower vectors bundles --drop-unused
    """
    from twotower.workflow.vector_tables import vector_tables

    found = vector_tables(source, drop=drop_unused)
    if as_json:
        print_json(found._asdict())
        return
    for table, versions in found.versions.items():
        owners = ", ".join(versions) or ("removed" if table in found.dropped else "unused")
        out.print(f"{table}  {escape(owners)}", highlight=False, soft_wrap=True)


@app.command()
def sign(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle written by `train`.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Private key (Ed25519, PEM).")
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option("--new-key", metavar="FILE", help="Write a new key: FILE and FILE.pub."),
    ] = None,
) -> None:
    """Sign a bundle, so that --verify-key accepts it; or make a key to sign with.

    Example: twotower sign --new-key signing.pem && twotower sign shop/bundle --key signing.pem
    """
    from twotower.serving.bundle.bundle import sign_bundle
    from twotower.serving.bundle.signing import new_key as make

    if new_key is not None and bundle is None and key is None:
        public = make(new_key)
        out.print(f"Wrote {escape(str(new_key))}. Keep it where bundles are trained.")
        out.print(f"Wrote {escape(str(public))}, for --verify-key.", highlight=False)
    elif new_key is None and bundle is not None and key is not None:
        sign_bundle(bundle, key)
        out.print(f"Signed {escape(str(bundle))}.", highlight=False)
    else:
        raise typer.BadParameter("give either BUNDLE and --key FILE, or --new-key FILE")


def recommendation_json(answer: Recommendation) -> dict[str, Any]:
    """A recommendation as JSON."""
    return {
        "user_id": answer.user_id,
        "path": answer.path,
        "live": answer.live,
        "items": [item_json(entry) for entry in answer.items],
    }


def item_json(entry: RecommendedItem) -> dict[str, Any]:
    """One recommended item as JSON."""
    return {
        "item_id": entry.item_id,
        "score": entry.score,
        "reason": entry.reason,
        "reason_code": entry.reason_code,
        "reason_parameters": dict(entry.reason_parameters),
    }


def cell_text(value: object) -> str:
    """A table cell's text: long text is truncated, and bytes are shown by their size."""
    text = f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def items_table(items: Sequence[RecommendedItem], title: str) -> Table:
    """Recommended items as a table, with up to three columns of the items table."""
    table = Table(title=escape(title), title_justify="left")
    shown = list(items[0].columns)[:3] if items else []
    for name in ("", "item", *shown, "score", "reason"):
        table.add_column(escape(name), justify="right" if name in ("", "score") else "left")
    for place, entry in enumerate(items, start=1):
        columns = [escape(cell_text(entry.columns.get(name, ""))) for name in shown]
        table.add_row(
            str(place),
            escape(str(entry.item_id)),
            *columns,
            f"{entry.score:.3f}",
            escape(entry.reason),
        )
    return table
