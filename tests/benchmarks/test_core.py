"""The benchmark of the core: both sides do the same, and its figures mean what they say."""

from __future__ import annotations

import sys

import pytest

from benchmarks import core_evaluation, core_scan, core_steps, measuring
from benchmarks.core_setup import (
    Shapes,
    build_ours,
    build_published,
    draw_batch,
    draw_features,
    our_step,
    published_step,
    useful_multiplications,
)

SMALL = Shapes(items=50, feature_width=12, sizes=(2, 4, 8))


def test_both_sides_have_the_same_loss_and_gradients():
    found = core_steps.agreement(SMALL, users=5)
    assert found["loss"] < 1e-5
    assert found["gradient"] < 1e-4


def test_both_sides_train():
    features, batch = draw_features(SMALL), draw_batch(8, SMALL)
    network = build_ours(SMALL, dropout=0.0)
    model = build_published(SMALL, features, network, dropout=0.0)
    for step in (our_step(network, features, batch), published_step(model, batch)):
        losses = [float(step()) for _ in range(5)]
        assert losses == sorted(losses, reverse=True)


def test_useful_multiplications_by_hand():
    # Table and weight 2 * 50 * 12 * 8; logits 3 * 10 * 50 * 8; layers 2*2 + 2*4 + 4*8 = 44 numbers.
    assert useful_multiplications(SMALL, 10) == 9600 + 12_000 + 3 * 7 * 44 * 10


def test_an_evaluation_of_ours_ranks_what_the_published_one_puts_first():
    features, batch = draw_features(SMALL), draw_batch(6, SMALL)
    network = build_ours(SMALL)
    model = build_published(SMALL, features, network)
    best = core_evaluation.evaluate_published(model, batch.left_padded()[0], k=3)
    for place in range(3):
        for size, own in enumerate(best[:, :, place]):
            ranks = core_evaluation.evaluate_ours(
                network, features, batch.items, batch.lengths, own
            )
            assert ranks[size].tolist() == [place + 1] * 6


def test_histories_are_as_long_as_beauty_s():
    lengths = draw_batch(20_000, SMALL).lengths
    assert lengths.double().mean() == pytest.approx(5.9, abs=0.1)
    assert 2 == lengths.min() < lengths.max() <= 50


def test_pairs_take_medians_of_ratios(monkeypatch):
    times = iter([8.0, 2.0, 1.0, 4.0, 9.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr(measuring, "seconds", lambda work: next(times))
    found = measuring.pairs(lambda: None, lambda: None, count=2)
    assert found["ratios"] == [4.0, 3.0]
    assert (found["slow"], found["fast"], found["ratio"]) == (8.5, 2.5, 3.5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_is_that_of_the_process_alone(tmp_path, monkeypatch):
    (tmp_path / "fills.py").write_text("import sys\nkept = b'x' * (int(sys.argv[1]) << 20)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    held = bytearray(200 << 20)
    small, large = (measuring.peak_bytes("fills", size) for size in ("1", "101"))
    assert len(held) > large - small > 95 << 20
    assert small < 100 << 20


def test_a_side_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no_such_module"):
        measuring.peak_bytes("no_such_module")


def test_the_scan_is_measured_by_position():
    rows = core_scan.measure(width=2, sequences=3, lengths=(5, 20))
    assert [(row["length"], row["positions"]) for row in rows] == [(5, 15), (20, 60)]
    assert all(row["ns_per_number"] > 0 for row in rows)
