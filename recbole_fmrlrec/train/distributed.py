"""Training in several processes: ``torchrun --nproc_per_node=N run_recbole.py ...``.

Every process holds the whole model, makes the gradients of its share of each batch
(`recbole_fmrlrec.data.dealing`), and all of them take the same step. What goes between them:

- Each step, 8 bytes for the positions, the loss, and for each parameter whether it has a gradient.
- Each step, every gradient once: 4 bytes a float32 parameter, which a ring of W processes turns
  into 8 (W - 1) / W bytes sent by each. A frozen feature table is no parameter; id embeddings are.
  Of a table of 1 MiB and more of which few rows have a gradient, as with sampled losses, the rows
  are sent instead where that is less: (W - 1) m (4 d + 4) bytes by each, if no process has more
  than m rows (`recbole_fmrlrec.train.row_exchange`).
- Where the exact softmax ranks items projected from wide features, each step 8 bytes a number of
  the item table (`recbole_fmrlrec.train.item_shards`).
- Each epoch, 16 bytes a parameter tensor, to see that all still have the same weights.

The gradient of a batch is ``sum_r (n_r / n) g_r``: process r has n_r of its n positions, and the
loss whose gradient g_r is is the mean over those. So the step is that of one process with the whole
batch, to rounding, where the loss is a mean over positions (rows, for RecBole's models). Where it
is not, as with contrasts or batch norms inside a batch, a process knows its own share only, as in
PyTorch's DistributedDataParallel. A sampled softmax draws candidates in every process for the
process's own positions, by whose number its correction is (`recbole_fmrlrec.nn.sampled_loss`).

The sum is explicit and not DistributedDataParallel's, which would hook on each parameter: losses
here are ``calculate_loss`` and others beside ``forward``, parameters may take no part in a batch,
the means have to be weighted, and the loss that makes most of the gradients makes them in its
forward pass, so that there is little to overlap with. It takes place at the end of the backward
pass, before RecBole clips the gradients.
"""

from __future__ import annotations

from logging import Logger
from typing import Any

import torch
from recbole.utils import init_seed
from torch import Tensor, nn
from torch.autograd import Variable
from torch.optim import Optimizer

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.data.dealing import Share
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.train.item_shards import share_items
from recbole_fmrlrec.train.row_exchange import add_up_rows
from recbole_fmrlrec.train.typed_settings import RunSettings, TrainerSettings

#: Gradients of fewer bytes are exchanged together.
SMALL = 2**20
#: Models of RecBole whose loss is a sum over rows and not a mean; a penalty that they add to it
#: counts once for each process.
SUMMED = {"CDAE", "ConvNCF", "ENMF"}


class GradientExchange:
    """Makes the gradients of all processes' shares of a batch those of the batch.

    Args:
        model: whose parameters learn.
        share: how many positions this process has of the batch that is trained on.
        weighs_loss: weigh the loss before the backward pass, and not the gradients after it, as is
            needed where they are made of what other processes send meanwhile
            (`recbole_fmrlrec.train.item_shards`). It takes an exchange of 8 bytes more.
    """

    def __init__(self, model: nn.Module, share: Share, weighs_loss: bool = False) -> None:
        self.model, self.share, self.weighs_loss = model, share, weighs_loss
        self.is_mean = type(model).__name__ not in SUMMED
        self.total_loss = 0.0
        self._loss: Tensor | None = None

    def watch(self, loss: Tensor) -> None:
        """Exchange the gradients at the end of this loss's backward pass."""
        self._loss = loss.detach()
        engine = Variable._execution_engine

        def begin(gradient: Tensor) -> Tensor | None:
            engine.queue_callback(self.exchange)
            return gradient * self._weight() if self.weighs_loss else None

        loss.register_hook(begin)

    def _own(self) -> float:
        return float(self.share.positions if self.is_mean else self.share.positions > 0)

    def _weight(self) -> float:
        """By how much this process's loss counts."""
        whole = torch.tensor([self._own()], dtype=torch.float64)
        torchrun.add_up(whole)
        return self._own() / whole.item() if self.is_mean else self._own()

    def exchange(self) -> None:
        """Replace every gradient by the sum over all processes, weighted by their positions.

        Raises:
            RunError: a gradient is sparse, or another process has ended.
        """
        assert self._loss is not None
        learned = [p for p in self.model.parameters() if p.requires_grad]
        own = self._own()
        present = [float(p.grad is not None) for p in learned]
        numbers = torch.tensor([own, 0.0, *present], dtype=torch.float64, device=self._loss.device)
        if own:
            numbers[1] = self._loss.double().reshape(()) * own
        torchrun.add_up(numbers)
        positions, loss, *anywhere = numbers.tolist()
        whole = positions if self.is_mean else 1.0
        self.total_loss += loss / whole
        taking_part = [p for p, there in zip(learned, anywhere, strict=True) if there]
        weight = 1.0 if self.weighs_loss else own / whole
        add_up_gradients([_gradient(p) for p in taking_part], weight)

    def loss_of_epoch(self) -> float:
        """The sum of the losses of all batches since it was last asked for."""
        total, self.total_loss = self.total_loss, 0.0
        return total


def _gradient(parameter: Tensor) -> Tensor:
    """The gradient of a parameter, contiguous; zeros where this process has none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.layout != torch.strided:
        raise RunError(
            "the processes of torchrun exchange no sparse gradients: use embeddings with "
            "sparse=False and another learner than sparse_adam"
        )
    if not parameter.grad.is_contiguous():
        parameter.grad = parameter.grad.contiguous()
    return parameter.grad


def add_up_gradients(gradients: list[Tensor], weight: float) -> None:
    """Replace gradients, in place, by the sum of ``weight`` times those of each process."""
    if not gradients:
        return
    if weight not in (0.0, 1.0):
        torch._foreach_mul_(gradients, weight)
    elif not weight:  # nothing times NaN is NaN
        torch._foreach_zero_(gradients)
    large = [g for g in gradients if g.numel() * g.element_size() >= SMALL]
    whole = add_up_rows([g for g in large if g.ndim == 2])
    large = [g for g in large if g.ndim != 2] + whole
    small = [g for g in gradients if g.numel() * g.element_size() < SMALL]
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for gradient in small:
        kinds.setdefault(gradient.dtype, []).append(gradient)
    flat = [torch.cat([g.flatten() for g in some]) for some in kinds.values()]
    torchrun.add_up(*large, *flat)
    for together, some in zip(flat, kinds.values(), strict=True):
        parts = together.split([g.numel() for g in some])
        torch._foreach_copy_(some, [p.view_as(g) for p, g in zip(parts, some, strict=True)])


class SharedTraining:
    """Mixin before a trainer of RecBole: its part of a training in several processes.

    With one process it does nothing.
    """

    model: Any
    device: torch.device
    settings: TrainerSettings
    logger: Logger
    _exchange: GradientExchange | None = None

    def _share_training(self, train_data: Any) -> None:
        """Exchange gradients from now on, where a loader gives shares of batches.

        Raises:
            UsageError: the model has an optimiser of its own, which knows nothing of the others.
        """
        share = getattr(train_data, "share", None)
        if share is None:
            return
        for name, value in vars(self.model).items():
            if isinstance(value, Optimizer):
                raise UsageError(
                    f"{type(self.model).__name__} trains a part of itself by an optimiser of its "
                    f"own ({name}), which several processes cannot share; train it without torchrun"
                )
        wanted = self.settings.shard_items
        shards = share_items(self.model, wanted, self.device)
        if wanted and not shards:
            self.logger.warning(
                f"shard_items: True has nothing to do here: {type(self.model).__name__} with these "
                "settings projects no features of all items in a step"
            )
        self._exchange = GradientExchange(self.model, share, weighs_loss=shards)

    def _check_nan(self, loss: Tensor) -> None:
        """RecBole's, between loss and backward pass in every loop of its trainers."""
        super()._check_nan(loss)  # type: ignore[misc]
        if self._exchange is not None:
            self._exchange.watch(loss)

    def _loss_of_all(self, loss: Any) -> Any:
        """The loss of an epoch over all processes, from that of this one; the epoch is over.

        Raises:
            RunError: the processes have trained different weights.
        """
        if self._exchange is None:
            return loss
        agree(self.model)
        return self._exchange.loss_of_epoch()


def check_takes_part(trainer: type) -> None:
    """Refuse a trainer that knows no other processes.

    Raises:
        UsageError: there are several processes, and the trainer is not ours.
    """
    if torchrun.size() > 1 and not issubclass(trainer, SharedTraining):
        raise UsageError(
            f"{trainer.__name__} of RecBole trains in one process only: start it without torchrun"
        )


def start_together(model: nn.Module, settings: RunSettings) -> None:
    """Give all processes the weights of the first one, and to each random numbers of its own."""
    agree(model, at_start=True)
    if not torchrun.is_first():
        init_seed(settings.seed + torchrun.rank(), settings.reproducibility)


def agree(model: nn.Module, at_start: bool = False) -> None:
    """See that all processes hold the same model; average the running means that differ.

    Those are of the rows that each process saw: the means and variances of batch norms.

    Args:
        model: the model.
        at_start: take the first process's weights instead of complaining.

    Raises:
        RunError: the weights differ: the model changes them by other means than its gradients.
    """
    if torchrun.size() == 1:
        return
    named = model.state_dict(keep_vars=True)
    learned = {id(parameter) for parameter in model.parameters()}
    tensors = [(k, v) for k, v in named.items() if isinstance(v, Tensor) and v.numel()]
    for (name, value), same in zip(tensors, _same([v for _, v in tensors]), strict=True):
        if same:
            continue
        if not at_start and (id(value) in learned or not value.is_floating_point()):
            raise RunError(
                f"{type(model).__name__} cannot be trained by several processes: its {name} has "
                "become another one in each, as it is changed by other means than the gradients "
                "of the loss. Train it without torchrun"
            )
        weight = float(torchrun.is_first()) if at_start else 1 / torchrun.size()
        with torch.no_grad():
            mean = (value.double() * weight).contiguous()
            torchrun.add_up(mean)
            value.copy_(mean)


def _same(tensors: list[Tensor]) -> list[bool]:
    """Of each tensor, whether it has the same bits in all processes (by a sum of them)."""
    if not tensors:
        return []
    sums = torch.stack([_bits(tensor).to(tensors[0].device) for tensor in tensors])
    both = torch.cat([sums, -sums])
    torchrun.add_up(both, largest=True)
    highest, lowest = both.split(len(sums))
    same: list[bool] = (highest == -lowest).tolist()
    return same


def _bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's bits, read as whole numbers: it depends on no order of summing."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}
    flat = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return flat.contiguous().flatten().view(whole[flat.element_size()]).sum(dtype=torch.int64)
