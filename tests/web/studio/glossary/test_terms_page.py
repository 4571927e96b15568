"""The glossary: every snippet prints what the page says, and one source makes all pages."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from twotower.web.studio.glossary.examples import EXAMPLES
from twotower.web.studio.glossary.terms_page import FOLDER, Term, page, terms

ROOT = Path(__file__).resolve().parents[4]
FIRST = "What happens when an embedding table is smaller than the largest id it is asked for?"
REQUIRED = {
    "embedding",
    "two-tower",
    "dense-layer",
    "activation",
    "cold-start",
    "dot-product",
    "negative-sampling",
    "logq",
    "softmax",
    "temperature",
    "hard-negatives",
    "ncf",
    "gmf",
    "oov",
    "index",
    "hnsw",
    "recall-at-k",
    "ndcg-at-k",
    "early-stopping",
    "dropout",
    "weight-decay",
    "loss",
    "epoch",
    "validation",
    "item-knn",
    "ease",
    "p-value",
}


@pytest.mark.parametrize("term", terms(), ids=lambda term: term.slug)
def test_a_snippet_prints_what_stands_below_it(term: Term) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(term.code, f"{term.slug}.py", "exec"), {"__name__": "__main__"})
    assert printed.getvalue().rstrip() == term.printed


def test_the_glossary_in_docs_is_made_from_the_same_files() -> None:
    written = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert written == page(), (
        "run: python -m twotower.web.studio.glossary.terms_page > docs/glossary.md"
    )


def test_every_file_is_a_term_with_an_example() -> None:
    slugs = [term.slug for term in terms()]
    assert len(slugs) == len(list(FOLDER.iterdir())) == len(set(slugs))
    assert set(slugs) >= REQUIRED
    assert set(slugs) == set(EXAMPLES)


def test_the_first_question_is_that_of_the_table_that_is_too_small() -> None:
    first = terms()[0]
    assert first.question == FIRST
    assert "the embedding table has 4 rows (0 to 3) (found 9). Fix: make the" in first.printed
    assert "`EmbeddingRangeError`" in first.answer


def test_terms_refer_to_terms() -> None:
    slugs = {term.slug for term in terms()}
    for term in terms():
        assert set(term.see) <= slugs - {term.slug}, term.slug
        assert term.question.endswith("?"), term.slug


def test_links_of_the_page_lead_to_its_headings() -> None:
    text = page()
    anchors = {
        "".join(c for c in line[4:].lower() if c.isalnum() or c in " -_").replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("### ")
    }
    linked = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert linked
    assert linked <= anchors


def test_a_file_of_another_form_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^The file of the term 'x' does not match the format `FILE`\.$"
    ):
        Term.parse("x", "# A title\n\nNo chapter.\n")
