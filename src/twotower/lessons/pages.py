"""Markdown of our own as HTML: formulas as MathML, plots embedded, for the studio and for files.

The page gets it as a tree of elements, because its policy forbids it to insert HTML.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any, Final
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from twotower.lessons.texts import BUNDLE, PLOTS

Tree = list[Any]
"""An element: its name, its attributes, and its children, each a string or an element."""
PLOT: Final = re.compile(r'src="plots/([\w-]+\.svg)"')
NAMESPACE: Final = re.compile(r"^\{.*\}")


@cache
def _markdown() -> MarkdownIt:
    # Our own files may hold HTML: <details>.
    made = MarkdownIt("commonmark", {"html": True, "xhtmlOut": True}).enable("table")
    return made.use(dollarmath_plugin, double_inline=True, renderer=mathml)


def mathml(latex: str, options: dict[str, Any]) -> str:
    """A formula as MathML."""
    return str(convert(latex, display="block" if options["display_mode"] else "inline"))


def html(markdown: str) -> str:
    """The page as XHTML without a frame. Plots are embedded; `data-bundle` marks the elements that
    the caller may fill from a bundle."""
    marked = BUNDLE.sub(r'<div data-bundle="\g<slug>"></div>\n\n', markdown)
    return PLOT.sub(_embedded, _markdown().render(marked))


def _embedded(found: re.Match[str]) -> str:
    content = base64.b64encode((PLOTS / found[1]).read_bytes()).decode()
    return f'src="data:image/svg+xml;base64,{content}"'


def tree(markdown: str) -> Tree:
    """The page as an element `div`."""
    return _tree(ElementTree.fromstring(f"<div>{html(markdown)}</div>"))


def _tree(element: ElementTree.Element) -> Tree:
    children: Tree = [element.text] if element.text else []
    for child in element:
        children.append(_tree(child))
        if child.tail:
            children.append(child.tail)
    return [NAMESPACE.sub("", element.tag), dict(element.attrib), *children]
