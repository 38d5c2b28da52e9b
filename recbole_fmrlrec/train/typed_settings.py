"""What a run and its trainer read of a configuration, with types; `typed` fills these."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class RunSettings:
    """What the steps of a run read.

    Attributes:
        device: that the model is put on.
        num_threads: torch's on the CPU; None for one per core.
        init_from: a checkpoint whose weights are taken over.
        allow_tf32: a GPU rounds the factors of float32 products.
        continue_from: a run, or its checkpoint, that is continued on other data.
        continue_optimizer: whether its optimiser's state is kept.
        shard_items: see `TrainerSettings`.
    """

    model: str
    dataset: str
    seed: int
    reproducibility: bool
    local_rank: int
    device: torch.device
    valid_metric: str
    num_threads: int | None = None
    init_from: str | None = None
    continue_from: str | None = None
    continue_optimizer: bool = False
    shard_items: bool | None = None
    show_progress: bool = False
    allow_tf32: bool = False


@dataclass(frozen=True)
class TrainerSettings:
    """What `Trainer` reads beside what RecBole's Trainer reads itself.

    Attributes:
        checkpoint_dir: the folder of the run's checkpoints.
        max_minutes: after which no other epoch begins; None for no limit.
        warmup_steps: over which the learning rate rises from 0.
        lr_min_ratio: the last learning rate as a share of the highest.
        adam_beta2: the second beta of Adam and its kin; None for torch's.
        amp_dtype: the low precision of ``enable_amp``.
        trim_batches: padding is left out where a model allows it.
        shard_items: processes project the items' features together; None for where it pays.
        pretrain_epochs: of models that RecBole trains in two stages.
    """

    checkpoint_dir: str
    max_minutes: float | None = None
    lr_scheduler: str = "constant"
    warmup_steps: int = 0
    lr_min_ratio: float = 0.0
    adam_beta2: float | None = None
    amp_dtype: str = "bfloat16"
    trim_batches: bool = False
    shard_items: bool | None = None
    pretrain_epochs: int | None = None

    @property
    def low_dtype(self) -> torch.dtype:
        """``amp_dtype`` as torch has it."""
        return _DTYPES[self.amp_dtype]
