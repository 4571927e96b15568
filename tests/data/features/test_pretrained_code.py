"""A folder of an encoder may hold Python; it is never run."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.data.content import sentence_model
from twotower.data.features.pretrained import load_sentence_model
from twotower.errors import TwoTowerError

CODE = """
from pathlib import Path

Path({marker!r}).touch()

from sentence_transformers.models import Pooling
from transformers import BertConfig, BertModel, BertTokenizer


class Odd(Pooling):
    pass


class OddConfig(BertConfig):
    pass


class OddModel(BertModel):
    pass
"""


def load(folder: str) -> None:
    """Load an encoder as training does; it may refuse."""
    with suppress(TwoTowerError):
        load_sentence_model(folder).encode(["king", "ship"])


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "was-run"


def test_a_module_of_the_folder_is_not_imported(tmp_path: Path, marker: Path) -> None:
    folder = Path(sentence_model(tmp_path / "encoder"))
    (folder / "odd.py").write_text(CODE.format(marker=str(marker)), encoding="utf-8")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[-1]["type"] = "odd.Odd"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    load(str(folder))
    assert not marker.exists()


def test_a_model_class_of_the_folder_is_not_imported(tmp_path: Path, marker: Path) -> None:
    folder = Path(sentence_model(tmp_path / "encoder"))
    for config in folder.rglob("config.json"):
        document = json.loads(config.read_text(encoding="utf-8"))
        document["auto_map"] = {"AutoConfig": "odd.OddConfig", "AutoModel": "odd.OddModel"}
        document["model_type"] = "odd"
        config.write_text(json.dumps(document), encoding="utf-8")
        (config.parent / "odd.py").write_text(CODE.format(marker=str(marker)), encoding="utf-8")
    load(str(folder))
    assert not marker.exists()


def test_versions_that_run_what_lies_in_a_folder_are_not_allowed() -> None:
    """Those before 6 trust every folder, whatever `trust_remote_code` says."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in ("text", "dev"):
        wanted = map(Requirement, project["optional-dependencies"][extra])
        allowed = next(one.specifier for one in wanted if one.name == "sentence-transformers")
        assert not allowed.contains("5.4.1")
        assert allowed.contains("6.0.0")
