"""What the files of baselines refuse to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contracts.model_contract import TRAIN
from twotower.errors import BundleError
from twotower.models.baselines import EASE, MostPopular, load_baseline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MostPopular.fit(TRAIN).save(tmp_path)
    return tmp_path


def change(folder: Path, **values: object) -> None:
    file = folder / "baseline.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        load_baseline(folder, TRAIN.users, TRAIN.items)
    return str(error.value)


def test_nothing_there(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path / 'baseline.json'}: is missing or cannot be read. Fix: fit the baseline again."
    )


def test_another_format(folder: Path) -> None:
    change(folder, format=99)
    assert refusal(folder) == (
        f"{folder / 'baseline.json'}: has a format that this version cannot read; it reads format "
        "1 (found 99). Fix: fit the baseline again."
    )


def test_a_name_that_is_no_baseline(folder: Path) -> None:
    change(folder, name="eas")
    assert refusal(folder) == (
        f"{folder / 'baseline.json'}: there is no baseline 'eas', did you mean 'ease'? There are: "
        "popularity, recent_popularity, item_knn, ease, ials, bpr_mf, logistic_mf, svd."
    )


def test_another_baseline_than_was_asked_for(folder: Path) -> None:
    with pytest.raises(BundleError) as error:
        EASE.load(folder, TRAIN.users, TRAIN.items)
    assert str(error.value) == (
        f"{folder / 'baseline.json'}: holds the baseline 'popularity', not 'ease'. Fix: read it "
        "with load_baseline, which detects the baseline."
    )
