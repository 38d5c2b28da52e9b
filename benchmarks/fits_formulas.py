"""Formulas of what a model takes by its shapes; a test holds them against models."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recbole_fmrlrec.nn.network import FMRLRecNetwork

#: Bytes of a learned number while it learns: itself, its gradient, and AdamW's two means.
TRAINED = 16
#: Bytes of a float32, of a float16, and of a whole number of 64 bits.
FLOAT, HALF, LONG = 4, 2, 8
#: Bytes that an item of a served model takes beside its vector: its id in two lists and a
#: dictionary, as Python on 64 bits keeps a text of up to 14 letters. Measured.
SERVED_ITEM = 190


@dataclass(frozen=True)
class Case:
    """Shapes of a measurement: N, d, F, windows of a batch, drawn candidates."""

    items: int
    width: int
    features: int
    windows: int
    candidates: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nested sizes: powers of two from 8 to d."""
        return tuple(2**power for power in range(3, self.width.bit_length()))

    def least(self) -> Case:
        """The same with hardly more items than a step has candidates."""
        return replace(self, items=min(self.items, self.candidates + 1))


def parameters(case: Case, ids: bool) -> int:
    """Learned numbers: (N + 1) d of id vectors, the rest whatever the number of items."""
    network = FMRLRecNetwork(case.sizes, 0 if ids else case.features, num_id_items=int(ids))
    rest = sum(p.numel() for p in network.parameters()) - ids * case.width
    return rest + ids * (case.items + 1) * case.width


def expected_bytes(phase: str, case: Case) -> int:
    """Bytes that grow with the items, of a phase of the benchmark."""
    table = FLOAT * (case.items + 1) * case.width
    if phase == "train ids":
        # The popularity of each item, in float64, is kept by the sampler.
        return TRAINED * parameters(case, ids=True) + LONG * case.items
    if phase == "train features":
        # Of each item where its row is, its length and its order; pages of the file that were read.
        kept = (LONG + FLOAT + LONG) * (case.items + 1) + LONG * case.items
        return TRAINED * parameters(case, ids=False) + kept + HALF * case.items * case.features
    if phase == "rank":
        return table
    return table + SERVED_ITEM * case.items
