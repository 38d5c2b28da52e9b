"""The exchange of gradients, with another process whose share is written down; refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.data.dealing import Share
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.keys.known import check_key
from recbole_fmrlrec.train.distributed import GradientExchange, agree, check_takes_part


class Three(nn.Module):
    """Parameters that learn here, elsewhere, nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.here, self.there, self.nowhere = (nn.Parameter(torch.ones(2)) for _ in range(3))


def other_adds(monkeypatch: pytest.MonkeyPatch, *calls: list[list[float]]) -> None:
    """Be the first of two processes; the other one adds these numbers in turn."""
    waiting = list(calls)

    def add_up(*tensors: Tensor, largest: bool = False) -> None:
        for tensor, numbers in zip(tensors, waiting.pop(0), strict=True):
            added = torch.tensor(numbers, dtype=tensor.dtype)
            tensor.copy_(torch.maximum(tensor, added) if largest else tensor + added)

    monkeypatch.setattr(torchrun, "size", lambda: 2)
    monkeypatch.setattr(torchrun, "add_up", add_up)


@pytest.mark.parametrize(("own", "expected"), [(3, [1.5 + 0.5] * 2), (0, [2.0] * 2)])
def test_gradients_count_by_positions(
    monkeypatch: pytest.MonkeyPatch, own: int, expected: list[float]
) -> None:
    """Three positions here and one there, or none here: shares of 3/4 and 1/4, or of 0 and 1."""
    model = Three()
    exchange = GradientExchange(model, Share(own))
    # Positions, loss times positions, who has gradients; then the other's weighted gradients.
    gradients = [0.5, 0.5, 1.0, 1.0] if own else [2.0, 2.0, 4.0, 4.0]
    other_adds(monkeypatch, [[1.0, 8.0, 1.0, 1.0, 0.0]], [gradients])
    loss = 2.0 * model.here.sum()  # 4
    exchange.watch(loss)
    loss.backward()
    assert model.here.grad is not None and model.there.grad is not None
    assert model.here.grad.tolist() == expected
    assert model.there.grad.tolist() == gradients[2:]
    assert model.nowhere.grad is None
    assert exchange.loss_of_epoch() == ((3 * 4.0 + 8.0) / 4 if own else 8.0)
    assert exchange.loss_of_epoch() == 0.0


def test_what_is_nothing_counts_for_nothing_though_it_is_nan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Three()
    exchange = GradientExchange(model, Share(0))
    other_adds(monkeypatch, [[1.0, 8.0, 1.0, 0.0, 0.0]], [[2.0, 2.0]])
    loss = torch.nan * model.here.sum()
    exchange.watch(loss)
    loss.backward()
    assert model.here.grad is not None and model.here.grad.tolist() == [2.0, 2.0]


def bits(*numbers: float) -> int:
    """The sum of the bits of float32 numbers."""
    return int(torch.tensor(numbers, dtype=torch.float32).view(torch.int32).sum(dtype=torch.int64))


def sums_of(*whole: int) -> list[list[float]]:
    """What another process shows of its tensors."""
    return [[*whole, *(-number for number in whole)]]


def test_weights_that_drift_apart_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.BatchNorm1d(1)  # weight 1, bias 0, mean 0, variance 1, batches 0
    same = sums_of(bits(1), bits(0), bits(0), bits(1), 0)
    other_adds(monkeypatch, same)
    agree(model)
    other_adds(monkeypatch, sums_of(bits(1.5), bits(0), bits(0), bits(1), 0))
    with pytest.raises(RunError, match=r"BatchNorm1d cannot be trained by several .* its weight"):
        agree(model)


def test_running_means_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.BatchNorm1d(1)
    other_adds(monkeypatch, sums_of(bits(1), bits(0), bits(3), bits(1), 0), [[1.5]])
    agree(model)
    assert model.running_mean is not None and model.running_mean.tolist() == [1.5]


def test_what_several_processes_cannot_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_takes_part(object)  # one process trains anything
    monkeypatch.setattr(torchrun, "size", lambda: 2)
    monkeypatch.setattr(torchrun, "rank", lambda: 0)
    with pytest.raises(UsageError, match="object of RecBole trains in one process only"):
        check_takes_part(object)
    for words in (["tune", "x.yaml"], ["--model=BPR,SASRec"]):
        assert main(words) == 2
        assert "torchrun is for the training of one model" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["nproc", "world_size", "ip", "port", "nproc_per_node"])
def test_recboles_keys_are_refused_with_the_command(key: str) -> None:
    with pytest.raises(UsageError, match=r"torchrun --nproc_per_node=2 run_recbole\.py --model="):
        check_key(key, "command line", "BPR")


def test_an_environment_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"RANK": "0", "WORLD_SIZE": "two", "LOCAL_RANK": "0"}
    for name, value in {**values, "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two', not a number"):
        torchrun.size()
