"""What a person sees of a run, and what stands in its log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from recbole.trainer import Trainer as RecBoleTrainer

from recbole_fmrlrec.console import run_log, say
from recbole_fmrlrec.train.epoch_lines import EpochLines


def test_people_see_what_is_said_and_warnings_the_log_holds_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger()
    with run_log(tmp_path / "run.log", None):
        log.info("\x1b[1;32mepoch 0 training\x1b[0m [time: 1.00s, train loss: 2.0000]")
        log.info("Finished training, best eval result in epoch 9")
        log.warning("\x1b[1;33mlook out\x1b[0m")
        say("epoch 3 is mine")
        log.debug("not at this level")
    assert capsys.readouterr().err == "warning: look out\nepoch 3 is mine\n"
    lines = [line.split(" ", 1)[1] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert lines == [
        "INFO epoch 1 training [time: 1.00s, train loss: 2.0000]",
        "INFO Finished training, best eval result in epoch 10",
        "WARNING look out",
        "INFO epoch 3 is mine",
    ]


class Steps(RecBoleTrainer):
    """RecBole's loop over epochs whose losses and scores are given."""

    def __init__(self, scores: list[dict[int, float]], eval_step: int = 1) -> None:
        self.epochs, self.eval_step, self.stopping_step = len(scores), eval_step, 10
        self.start_epoch, self.cur_step, self.best_valid_score = 0, 0, float("-inf")
        self.valid_metric, self.valid_metric_bigger = "ndcg@10", True
        self.train_loss_dict, self.scores = {}, iter(scores)
        self.config = {"train_neg_sample_args": {}, "loss_decimal_place": 4}
        self.logger = logging.getLogger("nobody")
        self.eval_collector = self.tensorboard = self.wandblogger = self

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: None

    def _add_hparam_to_tensorboard(self, best_valid_result):
        pass

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        return 10.0 * len(train_data) / (epoch_idx + 1)

    def _valid_epoch(self, valid_data, show_progress=False):
        self.by_size = {size: {"ndcg@10": value} for size, value in next(self.scores).items()}
        score = self.by_size[max(self.by_size)]["ndcg@10"]
        self.by_size = self.by_size if len(self.by_size) > 1 else None
        return score, {"ndcg@10": score}


class Shown(EpochLines, Steps):
    pass


def lines_of(trainer: Shown, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    said: list[str] = []
    monkeypatch.setattr("recbole_fmrlrec.train.epoch_lines.say", said.append)
    monkeypatch.setattr("recbole.trainer.trainer.time", lambda: 0.0)
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    trainer.fit(range(4), [torch.zeros(1)], saved=False)
    trainer.end_lines()
    assert len({len(line.removesuffix("  best so far")) for line in said if "%" not in line}) == 1
    return [" ".join(line.split()).split(" ") for line in said]


def test_a_line_an_epoch_at_the_smallest_and_the_largest_size(monkeypatch) -> None:
    scores = [{2: 0.1, 4: 0.2, 8: 0.3}, {2: 0.3, 4: 0.1, 8: 0.25}, {2: 0.1, 4: 0.1, 8: 0.3}]
    head, *lines = lines_of(Shown(scores), monkeypatch)
    assert " ".join(head) == "epoch loss time ndcg@10 at 2 ndcg@10 at 8"
    assert [" ".join(line) for line in lines] == [
        "1/3 10.0000 0.0 s 0.1000 0.3000 best so far",
        "2/3 5.0000 0.0 s 0.3000 0.2500",
        "3/3 3.3333 0.0 s 0.1000 0.3000 best so far",
    ]


def test_a_model_without_sizes_has_one_value(monkeypatch) -> None:
    head, *lines = lines_of(Shown([{0: 0.5}, {0: 0.4}]), monkeypatch)
    assert head[-1] == "ndcg@10" and [line[4] for line in lines] == ["0.5000", "0.4000"]


def test_epochs_that_are_not_validated_have_a_line_too(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("recbole_fmrlrec.train.epoch_lines.say", said.append)
    trainer = Shown([{0: 0.5}, {0: 0.4}, {0: 0.3}], eval_step=2)
    trainer.fit(range(4), [torch.zeros(1)], saved=False)
    trainer.end_lines()
    numbers = [line.split()[0] for line in said if "epoch" not in line]
    assert numbers == ["1/3", "2/3", "3/3"]
    assert [line.split()[-1] for line in said if "epoch" not in line][1] == "far"
