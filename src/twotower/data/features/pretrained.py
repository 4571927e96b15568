"""Encoders that others trained: loaded when they are first needed, run once for each content.

They stay as they are: what they make of a text or a picture is kept in the work folder, and the
towers learn what to read of it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from twotower.data.features.row_cache import RowCache
from twotower.errors import ConfigError, explain

AT_ONCE = 64
"""Texts or pictures that a model reads at once."""


def model_identity(encoder: str) -> str:
    """What tells a model from all others: the digest of a folder's files, or the model's name."""
    folder = Path(encoder)
    return _folder_digest(folder) if folder.is_dir() else f"name:{encoder}"


@lru_cache(maxsize=8)
def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def content_key(identity: str, content: bytes) -> bytes:
    """The digest under which what a model makes of a content is kept."""
    return hashlib.sha256(identity.encode() + b"\0" + content).digest()


def vector_cache(identity: str, dim: int) -> RowCache:
    """The vectors (dim,) that a model has made so far."""
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return RowCache(f"vectors-{name}", dim, np.float32)


def library(name: str, extra: str, encoder: str) -> ModuleType:
    """A library of an extra.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            explain(
                f"the encoder {encoder!r} needs {name}, which cannot be imported: {error}",
                fix=f"pip install 'twotower[{extra}]', or leave 'encoder' out",
            )
        ) from None


def no_model(encoder: str, kind: str, error: object) -> ConfigError:
    """The error on an encoder that cannot be loaded."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")
    return ConfigError(
        explain(
            f"the encoder {encoder!r} cannot be loaded as {kind}: {reason}",
            fix="name a folder that holds such a model, or a model's full name, or leave 'encoder' "
            "out",
        )
    )


def check_identity(encoder: str, identity: str) -> None:
    """Refuse a model that is not the one of training.

    Raises:
        ConfigError: the folder's files have changed, or it is gone.
    """
    if model_identity(encoder) != identity:
        raise ConfigError(
            explain(
                f"the encoder {encoder!r} is not the model that training read",
                fix="put that model back, or train again",
            )
        )


# --- text ---------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def load_sentence_model(encoder: str) -> Any:
    """A sentence-transformers model, by folder or name.

    Raises:
        ConfigError: the extra is not installed, or there is no such model.
    """
    sentence_transformers = library("sentence_transformers", "text", encoder)
    try:
        model = sentence_transformers.SentenceTransformer(
            encoder,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # whatever the libraries below it raise
        raise no_model(encoder, "a sentence-transformers model", error) from None
    if not model.get_embedding_dimension():
        raise no_model(encoder, "a sentence-transformers model", "it names no length of vectors")
    return model.eval()


# --- pictures -----------------------------------------------------------------------------------


class VisionModel:
    """A vision model of transformers with the preparation that it was trained with."""

    def __init__(self, encoder: str) -> None:
        """Load it.

        Raises:
            ConfigError: the extra is not installed, or there is no such model.
        """
        transformers = library("transformers", "image", encoder)
        try:
            self.model = transformers.AutoModel.from_pretrained(
                encoder, use_safetensors=True, trust_remote_code=False
            )
            self.model.eval()
            self.prepare = _preparation(transformers, encoder)
            with torch.no_grad():
                blank = self.prepare(Image.new("RGB", (64, 64)))
                self.dim = int(self._read(torch.from_numpy(blank)[None]).shape[1])
        except Exception as error:  # whatever the libraries below it raise
            raise no_model(encoder, "a vision model of transformers", error) from None

    @torch.no_grad()
    def vectors(self, pixels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Prepared pictures, N of (3, H, W), to (N, E)."""
        parts = [
            self._read(torch.from_numpy(np.stack(pixels[start : start + AT_ONCE]))).float().numpy()
            for start in range(0, len(pixels), AT_ONCE)
        ]
        return np.concatenate(parts).astype(np.float32)

    def _read(self, pixels: torch.Tensor) -> torch.Tensor:
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(pixel_values=pixels)
        else:
            found = self.model(pixel_values=pixels)
        if isinstance(found, torch.Tensor):
            return found
        pooled = getattr(found, "pooler_output", None)
        vectors: torch.Tensor = found.last_hidden_state[:, 0] if pooled is None else pooled
        return vectors.flatten(1)


@lru_cache(maxsize=2)
def load_vision_model(encoder: str) -> VisionModel:
    """A vision model, by folder or name; loaded once."""
    return VisionModel(encoder)


def _preparation(transformers: Any, encoder: str) -> Any:
    """A function of a picture to what the model reads of it, (3, H, W) float32."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            encoder, backend="pil", trust_remote_code=False
        )
    except ImportError:
        # A processor that insists on torchvision; what it does is written beside the model.
        file = Path(encoder) / "preprocessor_config.json"
        return plain_preparation(json.loads(file.read_text(encoding="utf-8")))

    def prepare(image: Image.Image) -> NDArray[np.float32]:
        made = processor(images=[image], return_tensors="np")["pixel_values"]
        pixels: NDArray[np.float32] = np.asarray(made, dtype=np.float32)[0]
        return pixels

    return prepare


def plain_preparation(settings: dict[str, Any]) -> Any:
    """What a `preprocessor_config.json` asks for: scaled to its size, then normalised."""
    size = settings.get("size", 224)
    if isinstance(size, dict):
        side = int(size.get("shortest_edge", 224))
        height, width = int(size.get("height", side)), int(size.get("width", side))
    else:
        height = width = int(size)
    mean = np.array(settings.get("image_mean", [0.5] * 3), dtype=np.float32)
    deviation = np.array(settings.get("image_std", [0.5] * 3), dtype=np.float32)
    scale = np.float32(settings.get("rescale_factor", 1 / 255))

    def prepare(image: Image.Image) -> NDArray[np.float32]:
        scaled = image.resize((width, height), Image.Resampling.BICUBIC)
        pixels = (np.asarray(scaled, dtype=np.float32) * scale - mean) / deviation
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    return prepare
