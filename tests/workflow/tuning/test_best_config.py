from __future__ import annotations

from pathlib import Path

import pytest

from twotower.config import load_config
from twotower.errors import ConfigError
from twotower.workflow.tuning.best_config import check_replaceable, text_of, write_best
from twotower.workflow.tuning.settings import Settings, with_settings

TEXT = """\
# My shop
[data]
interactions = "clicks.csv"  # from the warehouse
users = "/data/users.parquet"

[features.user.history]  # the sequence
type = "history"

# Found by hand
[training]
learning_rate = 0.02   # was 0.01
epochs = 7
"""
CHANGED: Settings = {
    "training.learning_rate": 0.005,
    "retriever.temperature": 0.07,
    "features.user.history.encoder": "mean",
    "features.user.id.dropout": 0.3,
}


def tuned(
    folder: Path, *, out: str = "best.toml", text: str = TEXT, overrides: tuple[str, ...] = ()
) -> str:
    file = folder / "twotower.toml"
    file.write_text(text, encoding="utf-8")
    config, best = load_config(file, overrides), folder / out
    best.parent.mkdir(exist_ok=True)
    write_best(
        best,
        text,
        config,
        CHANGED,
        base=folder,
        overrides=overrides,
        comments=["Why.", "word " * 40],
    )
    assert load_config(best) == with_settings(config, CHANGED)
    return best.read_text(encoding="utf-8")


def test_comments_order_and_other_keys_stay(tmp_path: Path) -> None:
    written = tuned(tmp_path)
    assert written.startswith("# --- Written by `twotower tune`.\n# Why.\n# word word")
    assert all(len(line) <= 98 for line in written.splitlines())
    for kept in (
        "# My shop\n[data]\n",
        'interactions = "clicks.csv"  # from the warehouse\nusers = "/data/users.parquet"\n',
        '[features.user.history]  # the sequence\ntype = "history"\nencoder = "mean"\n',
        "# Found by hand\n[training]\nlearning_rate = 0.005   # was 0.01\nepochs = 7\n",
        "[retriever]\ntemperature = 0.07\n",
        "[features.user.id]\ndropout = 0.3\n",
    ):
        assert kept in written
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_was_tuned_before_gets_one_comment(tmp_path: Path) -> None:
    again = tuned(tmp_path, text=tuned(tmp_path))
    assert again.count("Written by") == 1
    assert again == tuned(tmp_path)


def test_in_another_folder_paths_are_absolute(tmp_path: Path) -> None:
    written = tuned(tmp_path, out="other/best.toml")
    assert f'interactions = "{tmp_path}/clicks.csv"  # from the warehouse' in written
    assert 'users = "/data/users.parquet"' in written
    assert "[data.split]" not in written


def test_overrides_are_written(tmp_path: Path) -> None:
    written = tuned(tmp_path, overrides=("training.epochs=9", "evaluation.k=3", "training.seed=4"))
    assert "epochs = 9\nseed = 4\n" in written
    assert "[evaluation]\nk = 3\n" in written


@pytest.mark.parametrize(
    "text",
    [
        'data = {interactions = "x.csv"}\ntraining = {epochs = 3}\n'
        'features.user.history.type = "history"\n',
        'data.interactions = "x.csv"\nfeatures = {user = {history = {type = "history"}}}\n',
        '[features.user.history]\ntype="history"\n[data]\ninteractions="x.csv"\n'
        '[features.item.a]\ntype="category"\n[retriever]\n',
        '[data]\r\ninteractions = "x.csv"\r\n[features]\r\nuser.history.type = "history"\r\n',
        '[data]\ninteractions = "x.csv"\n[retriever]\npreset = "sequential"\n',
    ],
)
def test_every_form_of_toml(text: str, tmp_path: Path) -> None:
    tuned(tmp_path, text=text)
    tuned(tmp_path, text=text, out="other/best.toml")


def test_a_config_without_a_file(tmp_path: Path) -> None:
    file = tmp_path / "twotower.toml"
    file.write_text(TEXT, encoding="utf-8")
    config = load_config(file)
    copy = tmp_path / "copy.toml"
    copy.write_text(text_of(config), encoding="utf-8")
    assert load_config(copy) == config


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "new.toml")
    tuned(tmp_path)
    check_replaceable(tmp_path / "best.toml")
    for place in (tmp_path / "twotower.toml", tmp_path):
        with pytest.raises(ConfigError) as raised:
            check_replaceable(place)
        assert str(raised.value) == (
            f"{place}: exists and was not written by `twotower tune`, so it is not replaced. Fix: "
            "choose another name with --out."
        )


def test_values_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    text = TEXT + '[features.item."a.b"]\ntype = "number"\n'
    file = tmp_path / "twotower.toml"
    file.write_text(text, encoding="utf-8")
    config, best = load_config(file), tmp_path / "best.toml"
    with pytest.raises(ConfigError, match="cannot be put into the config file"):
        write_best(
            best,
            text,
            config.model_copy(update={"plugins": ("elsewhere",)}),
            {"training.epochs": 3},
            base=tmp_path,
            overrides=(),
            comments=[],
        )
    assert not best.exists()
