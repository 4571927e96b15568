"""HTML that is always escaped: text becomes markup only through `tag`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """A string that is already markup."""

    __slots__ = ()


Content = str | Html | Iterable["Content"]
"""Text, which is escaped; markup; or a sequence of both."""

VOID = {"meta", "br"}


def tag(name: str, /, *content: Content, **attributes: str | None) -> Html:
    """An element. Attribute `class_` becomes `class`, `data_x` `data-x`; None is omitted."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{markup(content)}</{name}>")


def markup(content: Content) -> Html:
    """Content as markup; text is escaped."""
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
    """A horizontally scrollable table; the first cell of a row is its heading.

    Args:
        caption: describes the figures.
        head: column names.
        rows: rows of cells.
        marked: numbers of the rows to highlight.
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
