"""What a step over a million items holds at d = 1024, counted without holding it.

On the device "meta" tensors have shapes and no numbers; a step runs there as on a GPU, and what is
alive after each operation is added up. So the most that it takes is known to the byte, but for what
a GPU's own kernels need.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recbole_fmrlrec.nn.devices import GPU_BYTES
from recbole_fmrlrec.nn.loss import ALIGNED, FEWEST_ROWS, nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.sampled_loss import CandidateSampler, sampled_cross_entropy

ITEMS, WIDTH, SIZES = 1_000_000, 1024, (8, 16, 32, 64, 128, 256, 512, 1024)
META = torch.device("meta")
LENGTHS = torch.full((128,), 9)
POSITIONS = int(LENGTHS.sum())
TABLE = 4 * ITEMS * WIDTH  # 4.1 GB


class Held(TorchDispatchMode):
    """Adds up the bytes of tensors on "meta" that are alive.

    Attributes:
        peak: the most so far.
        largest: of one tensor's memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.largest = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for made in tree_leaves(found):
            if isinstance(made, torch.Tensor) and made.device == META:
                storage = made.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive[reference.cdata] = reference, storage.nbytes()
                self.largest = max(self.largest, storage.nbytes())
        self._alive = {k: v for k, v in self._alive.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return found


def network_on_meta() -> FMRLRecNetwork:
    """The network without numbers; its weights are not counted."""
    return FMRLRecNetwork(SIZES, WIDTH, dropout=0.1).to(META)


def layout() -> tuple[Packing, torch.Tensor]:
    packing = Packing.from_lengths(LENGTHS, 9)
    return packing.to(META), torch.zeros(POSITIONS, dtype=torch.int64, device=META)


def test_the_exact_loss_holds_a_few_tables_and_one_block_of_logits() -> None:
    network, (packing, ids) = network_on_meta(), layout()
    features = torch.empty(ITEMS + 1, WIDTH, device=META)
    with Held() as held:
        inputs, items = network.step_items(features, ids, POSITIONS)
        hidden = network.encode(inputs, packing)
        loss = nested_cross_entropy(hidden, items, ids, network.sizes)
        loss.backward()
    assert network.projector is not None and network.projector.weight.grad is not None
    assert network.projector.weight.grad.shape == (WIDTH, WIDTH)
    # FEWEST_ROWS rows of logits at each size take more than a GPU would have at once.
    block = 4 * len(SIZES) * ITEMS * FEWEST_ROWS
    assert GPU_BYTES < block < TABLE
    assert held.largest == TABLE + 4 * WIDTH  # and no larger one: not the logits of all positions
    # The table and the block of logits with the gradient of the table; later that twice.
    assert 2 * TABLE + block < held.peak < 2.6 * TABLE
    # The published formulation holds the logits of all positions, three times in its softmax.
    assert 4 * POSITIONS * len(SIZES) * ITEMS > 3 * held.peak


def test_a_sampled_loss_holds_what_it_reads_and_ranks() -> None:
    network, (packing, _) = network_on_meta(), layout()
    features = torch.empty(ITEMS + 1, WIDTH, device=META)
    torch.manual_seed(0)
    targets = torch.randint(ITEMS, (POSITIONS,))
    sampler = CandidateSampler("uniform", 8192, torch.ones(ITEMS))
    candidates = sampler.draw(targets)
    wanted, place = torch.cat([targets, candidates.rows + 1]).unique(return_inverse=True)
    read, ranked = (part.to(META) for part in place.split([POSITIONS, len(candidates.rows)]))
    with Held() as held:
        vectors = network.item_table(features, wanted)
        hidden = network.encode(functional.embedding(read, vectors), packing)
        items = functional.embedding(ranked, vectors)
        there = candidates.to(META), targets.to(META)
        sampled_cross_entropy(hidden, items, *there, network.sizes).backward()
    rows, columns = len(wanted), -(-len(candidates.rows) // ALIGNED) * ALIGNED
    assert held.largest == 4 * len(SIZES) * POSITIONS * columns  # logits of all positions: 340 MB
    # Beside them features, vectors, outputs and their gradients of what is read and ranked.
    assert held.peak < held.largest + 8 * 4 * WIDTH * rows < TABLE / 5
