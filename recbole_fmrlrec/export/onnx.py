"""The encoder and its one-step form as ONNX, in real arithmetic: ONNX has no complex numbers.

Both take item vectors, not item numbers, so that one graph serves tables of every type and items
that are added later. Needs the packages onnx and onnxscript.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.model_folder import save_model
from recbole_fmrlrec.deploy.real_arithmetic import RealBlock, RealStep, real_blocks
from recbole_fmrlrec.deploy.recommender import Recommender
from recbole_fmrlrec.errors import missing_package
from recbole_fmrlrec.files.atomic import replacing
from recbole_fmrlrec.nn.network import FMRLRecNetwork

OPSET = 18
ENCODER, STEP = "encoder.onnx", "step.onnx"


class RealEncoder(nn.Module):
    """Right-padded item vectors ``(B, L, s)`` and lengths ``(B,)`` to last outputs ``(B, s)``."""

    def __init__(self, network: FMRLRecNetwork) -> None:
        super().__init__()
        self.blocks = real_blocks(network)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the blocks; padding comes after every valid position and so never enters them."""
        batch, length, width = x.shape
        for block in self.blocks:
            assert isinstance(block, RealBlock)
            flat = x.reshape(-1, width)
            projected = block.input_projection(flat).reshape(batch, length, 2 * width)
            states = _scan(block, projected)
            x = block.output(flat, states.reshape(-1, 2 * width)).reshape(batch, length, width)
        last = (lengths - 1)[:, None, None].expand(-1, 1, width)
        return x.gather(1, last).squeeze(1)


def _scan(block: RealBlock, projected: Tensor) -> Tensor:
    """States ``(B, L, 2s)`` after every position, as one ONNX Scan over the length."""
    from torch._higher_order_ops.scan import scan

    def combine(state: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
        new = block.next_state(state, entering)
        return new, new.clone()

    time_major = projected.transpose(0, 1)
    _, states = scan(combine, torch.zeros_like(time_major[0]), time_major)
    result: Tensor = states.transpose(0, 1)
    return result


def export_onnx(network: FMRLRecNetwork, folder: Path) -> dict[str, Any]:
    """Write ``encoder.onnx`` and ``step.onnx``; batch and length are dynamic.

    ``encoder.onnx``: ``item_vectors`` (batch, length, s) and ``lengths`` (batch) int64 to
    ``hidden`` (batch, s). ``step.onnx``: ``item_vectors`` (batch, s) and ``state``
    (blocks, batch, 2s), zeros at the start, to ``hidden`` and ``new_state``.

    Returns:
        The entry ``onnx`` of ``model.json``.

    Raises:
        DeployError: a package is missing or torch is too old to export a scan.
    """
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    x = torch.zeros(2, 3, network.width)
    encoder = _Graph(ENCODER, ["item_vectors", "lengths"], ["hidden"])
    encoder.write(
        RealEncoder(network),
        (x, torch.tensor([3, 2])),
        ({0: batch, 1: length}, {0: batch}),
        folder,
    )
    state = torch.zeros(len(network.blocks), 2, 2 * network.width)
    step = _Graph(STEP, ["item_vectors", "state"], ["hidden", "new_state"])
    step.write(RealStep(network), (x[:, 0], state), ({0: batch}, {1: batch}), folder)
    return {"opset": OPSET, "encoder": ENCODER, "step": STEP}


def save_with_onnx(recommender: Recommender, folder: str | Path) -> Description:
    """Write a deployed model as `Recommender.save` does, with ONNX files of it.

    For a model that was exported without them. Its added items, columns and search are in the
    folder; a client without torch that reads ``search`` in ``model.json`` finds the same items.

    Args:
        folder: where to; a model in it is replaced.

    Returns:
        The description as written.

    Raises:
        DeployError: as `export_onnx`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entry = export_onnx(recommender.network, folder)
    about = replace(recommender.description, onnx=entry)
    graphs = entry["encoder"], entry["step"]
    return save_model(folder, about, recommender.network, recommender.items, graphs)


class _Graph:
    def __init__(self, name: str, inputs: list[str], outputs: list[str]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs

    @torch.no_grad()
    def write(
        self, module: nn.Module, example: tuple[Tensor, ...], shapes: Any, folder: Path
    ) -> None:
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with replacing(folder / self.name) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                program = torch.onnx.export(
                    module,
                    example,
                    dynamo=True,
                    verbose=False,
                    opset_version=OPSET,
                    input_names=self.inputs,
                    output_names=self.outputs,
                    dynamic_shapes=shapes,
                )
            except ImportError as error:
                if isinstance(error, ModuleNotFoundError) and error.name:
                    raise DeployError(f"ONNX export: {missing_package(error)}") from None
                raise DeployError(f"ONNX export needs torch 2.8 or later ({error})") from None
            assert program is not None
            program.save(str(partial), external_data=False)
