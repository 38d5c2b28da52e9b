"""Pretrained picture encoders of Hugging Face: SigLIP, SigLIP 2, CLIP, DINOv2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset_tools.encoders.pictures import map_pictures
from dataset_tools.encoders.pretrained import Pretrained
from dataset_tools.encoders.shards import Batch

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

DEFAULT_MODEL = "google/siglip-large-patch16-256"


class ImageEncoder:
    """A model ready to encode; ``settings`` go to the manifest.

    The picture half of the model's processor is loaded by itself: the text half of SigLIP wants
    a tokenizer library that pictures do not need.

    Raises:
        UsageError: a device that is not there, or a folder that holds no such model.
        EncodingError: the model cannot be loaded from the hub.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        workers: int | None = None,
    ) -> None:
        import PIL  # noqa: F401  transformers would say of another library that it is not there
        from transformers import AutoImageProcessor, AutoModel

        asked = Pretrained.ask(model, revision, dtype, device)
        self._device, self._dtype = asked.device, asked.torch_dtype
        self._workers = workers
        self._processor = asked.load(AutoImageProcessor)
        loaded = asked.load(AutoModel)
        self._model = loaded.to(self._dtype).to(self._device).eval()
        self._width = 0
        self.settings = asked.manifest(
            loaded.config,
            pooling="pooler" if hasattr(loaded, "get_image_features") else "cls",
            normalised=True,
            processor=type(self._processor).__name__,
        )

    def encode(self, batch: Sequence[Path]) -> Batch:
        """Vectors (len(batch), width); zeros and a reason for pictures that cannot be used."""
        tensors, reasons = map_pictures(batch, self._prepare, self._workers)
        if not tensors:
            return np.zeros((len(batch), self._known_width()), dtype=np.float32), reasons
        vectors = self._vectors(list(tensors.values()))
        matrix = np.zeros((len(batch), vectors.shape[1]), dtype=np.float32)
        matrix[list(tensors)] = vectors
        return matrix, reasons

    def _prepare(self, picture: Image) -> dict[str, torch.Tensor]:
        return dict(self._processor(images=[picture], return_tensors="pt"))

    def _vectors(self, prepared: list[dict[str, torch.Tensor]]) -> np.ndarray:
        import torch
        from torch.nn.functional import normalize

        inputs = {
            name: torch.cat([one[name] for one in prepared]).to(self._device)
            for name in prepared[0]
        }
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        with torch.inference_mode():
            vectors = normalize(self._pooled(inputs).float(), dim=1)
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def _pooled(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, width); older transformers return the tensor, newer ones an output object."""
        if hasattr(self._model, "get_image_features"):
            output = self._model.get_image_features(**inputs)
            return output if hasattr(output, "shape") else output.pooler_output
        output = self._model(**inputs)
        pooled = getattr(output, "pooler_output", None)
        return output.last_hidden_state[:, 0] if pooled is None else pooled

    def _known_width(self) -> int:
        """The width, by encoding a grey picture: a batch may hold no usable one."""
        if not self._width:
            from PIL import Image

            grey = self._prepare(Image.new("RGB", (64, 64), (128, 128, 128)))
            self._width = self._vectors([grey]).shape[1]
        return self._width
