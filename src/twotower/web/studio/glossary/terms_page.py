"""The terms of the field: one file each in `terms/`, read by the Learn view and by
`docs/glossary.md`, which
`python -m twotower.web.studio.glossary.terms_page > docs/glossary.md` writes."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("terms")
FILE: Final = re.compile(
    r"# (?P<title>[^\n]+)\n\nChapter: (?P<chapter>[^\n]+)\n\n(?P<text>.+?)\n\n"
    r"```python\n(?P<code>.+?)\n```\n\n```text\n(?P<printed>.+?)\n```\n\n"
    r"## Question\n\n(?P<question>.+?)\n\n## Answer\n\n(?P<answer>.+?)\n\n"
    r"## See also\n\n(?P<see>[^\n]+)\n",
    re.DOTALL,
)
"""What each file looks like."""

HEAD: Final = """# Glossary

Written by `python -m twotower.web.studio.glossary.terms_page > docs/glossary.md` from the files in
`src/twotower/web/studio/glossary/terms/`, which the studio's Learn view shows, too, with an example computed
from the bundle that is served; a test holds both equal, and runs every snippet. A snippet prints
what stands below it.
"""


@dataclass(frozen=True)
class Term:
    """A term of the glossary.

    Attributes:
        slug: of its file, and of links to it.
        title: the term.
        chapter: where it belongs.
        text: what it means; paragraphs, with `code` and *emphasis*.
        code: a program that runs by itself.
        printed: what it prints.
        question, answer: to check whether it was understood.
        see: slugs of terms that are near.
    """

    slug: str
    title: str
    chapter: str
    text: str
    code: str
    printed: str
    question: str
    answer: str
    see: tuple[str, ...]

    @staticmethod
    def parse(slug: str, page: str) -> Term:
        """A file's text.

        Raises:
            ValueError: it does not look as they all do.
        """
        found = FILE.fullmatch(page)
        if found is None:
            raise ValueError(f"The file of the term {slug!r} has not the form of the others.")
        parts = found.groupdict()
        see = tuple(parts.pop("see").split(", "))
        prose = {name: unwrap(parts[name]) for name in ("text", "question", "answer")}
        return Term(slug=slug, see=see, **{**parts, **prose})


def unwrap(text: str) -> str:
    """Paragraphs, each on a line of its own."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


@cache
def terms() -> tuple[Term, ...]:
    """All terms, in the order of their files."""
    return tuple(
        Term.parse(path.stem.partition("-")[2], path.read_text(encoding="utf-8"))
        for path in sorted(FOLDER.glob("*.md"))
    )


def page() -> str:
    """The whole of `docs/glossary.md`."""
    titles = {term.slug: term.title for term in terms()}
    parts, chapter = [HEAD], ""
    for term in terms():
        if term.chapter != chapter:
            chapter = term.chapter
            parts.append(f"## {chapter}\n")
        see = ", ".join(f"[{titles[slug]}](#{anchor(titles[slug])})" for slug in term.see)
        parts.append(
            f"### {term.title}\n\n{term.text}\n\n```python\n{term.code}\n```\n\n"
            f"```text\n{term.printed}\n```\n\n**{term.question}** {term.answer}\n\n"
            f"See also: {see}.\n"
        )
    return "\n".join(parts)


def anchor(title: str) -> str:
    """Of a heading, as the usual renderers of Markdown make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.write(page())
