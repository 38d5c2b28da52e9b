"""The time of one answer out of times that are known."""

from __future__ import annotations

import time
from pathlib import Path

from recbole_fmrlrec.evaluation.latency import (
    by_clock,
    by_processor,
    least_median,
    processor_name,
)


def test_the_least_median_of_the_rounds() -> None:
    times = iter([1.0, 9.0, 9.5, 30.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    answers = [lambda: None] * 3
    assert least_median(answers, lambda answer: next(times), rounds=3) == 4.0


def test_waiting_for_the_processor_does_not_count() -> None:
    def wait() -> None:
        time.sleep(0.2)

    assert by_clock(wait) >= 199
    assert by_processor(wait) < 100


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("vendor_id : x\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: Other\n")
    assert processor_name(file) == "Some CPU @ 2.00GHz"
    file.write_text("BogoMIPS : 50\n")
    assert processor_name(file) == processor_name(tmp_path / "none") != ""
