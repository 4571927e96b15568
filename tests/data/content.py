"""Content for tests: files of pictures, and tiny pretrained models that are made on the spot."""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder of the test's own."""
    folder = tmp_path / "work"
    monkeypatch.setenv("TWOTOWER_WORK", str(folder))
    return folder


def png(colour: str, size: tuple[int, int] = (40, 20), kind: str = "PNG") -> bytes:
    """The bytes of a picture in one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, format=kind)
    return file.getvalue()


def sentence_model(folder: Path, seed: int = 0) -> str:
    """A BERT of one layer over seven words, saved as sentence-transformers saves it."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    transformers = pytest.importorskip("transformers")
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "king", "queen", "ship"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its modules move between releases
        models = importlib.import_module("sentence_transformers.models")
        bert = models.Transformer(str(folder / "bert"))
        pooling = models.Pooling(bert.get_embedding_dimension())
        model = sentence_transformers.SentenceTransformer(modules=[bert, pooling], device="cpu")
        model.save(str(folder / "model"))
    return str(folder / "model")


def vision_model(folder: Path, *, processor: bool = True) -> str:
    """A vision transformer of one layer over pictures of 32 x 32 pixels."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.ViTModel(config).save_pretrained(folder)
    if processor:
        size = {"height": 32, "width": 32}
        transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    return str(folder)
