"""Writes docs/config.md from the config's own models: `python docs/build.py`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from twotower import config

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("[data]", config.DataConfig),
    ("[data.format]", config.FormatsConfig),
    ("[data.format.TABLE]", config.FormatConfig),
    ("[data.columns]", config.ColumnsConfig),
    ("[data.positive]", config.PositiveConfig),
    ("[data.split]", config.SplitConfig),
    ("[features.user.id], [features.item.id]", config.IdFeatureConfig),
    ('[features.SIDE.NAME], type = "category"', config.CategoryConfig),
    ('[features.SIDE.NAME], type = "categories"', config.CategoriesConfig),
    ('[features.SIDE.NAME], type = "number"', config.NumberConfig),
    ('[features.SIDE.NAME], type = "timestamp"', config.TimestampConfig),
    ('[features.SIDE.NAME], type = "text"', config.TextConfig),
    ('[features.SIDE.NAME], type = "image"', config.ImageConfig),
    ('[features.SIDE.NAME], type = "vector"', config.VectorConfig),
    ("[features.user.history]", config.HistoryConfig),
    ("[retriever]", config.RetrieverConfig),
    ("[ranker]", config.RankerConfig),
    ("[training]", config.TrainingConfig),
    ("[evaluation]", config.EvaluationConfig),
    ("[index]", config.IndexConfig),
    ("[compare]", config.CompareConfig),
]

HEAD = """# The keys of twotower.toml

Written by `python docs/build.py` from the models in `src/twotower/config/`; a test holds both
equal. SIDE is `user` (read from the users file), `item` (from the items file) or `context` (from
the interactions, and sent with each request). Relative paths are relative to the config file. An
unknown key is an error that names the nearest known one. `--set section.key=value` on the command
line overrides a key.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(title, model) for title, model in SECTIONS)])


def section(title: str, model: type[BaseModel]) -> str:
    """One section with a row a key."""
    rows = [
        f"| `{name}` | {default(field)} | {one_line(field.description)} |"
        for name, field in model.model_fields.items()
        if name != "type"
    ]
    about = one_line(inspect.getdoc(model)).partition(": ")
    text = about[2] if about[0].startswith("`[") else "".join(about)
    return "\n".join(
        [
            f"## {title}",
            "",
            text[:1].upper() + text[1:],
            "",
            "| key | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def default(field: FieldInfo) -> str:
    """The default as TOML would write it."""
    value: Any = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if value is None or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`".replace("'", '"')


def one_line(text: str | None) -> str:
    """Text without its line breaks, safe in a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("config.md").write_text(page(), encoding="utf-8")
