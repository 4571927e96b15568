"""HTML that cannot forget to escape: text becomes markup only by way of `tag`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | Html | Iterable["Content"]
"""Text, which is escaped; markup; or a row of both."""

VOID = {"meta", "br"}


def tag(name: str, /, *content: Content, **attributes: str | None) -> Html:
    """An element. Of attributes, `class_` is `class` and `data_x` is `data-x`; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{markup(content)}</{name}>")


def markup(content: Content) -> Html:
    """Content as markup: what is not markup yet is escaped."""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(content))
    return Html("".join(markup(part) for part in content))


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Content]],
    *,
    marked: frozenset[int] = frozenset(),
) -> Html:
    """A table that can be scrolled sideways; the first cell of a row is its heading.

    Args:
        caption: says what the figures are.
        head: names of the columns.
        rows: of cells.
        marked: rows that are set off.
    """
    heads = [tag("th", name, scope="col") for name in head]
    body = [
        tag(
            "tr",
            tag("th", cells[0], scope="row"),
            [tag("td", cell) for cell in cells[1:]],
            class_="marked" if place in marked else None,
        )
        for place, cells in enumerate(rows)
    ]
    whole = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", body)
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
