"""Pooled vectors of codes against their definition."""

from __future__ import annotations

import torch

from recbole_fmrlrec.nn.code_vectors import CodeVectors, code_vectors_reference


def test_codes_are_looked_up_in_the_table_of_their_part_and_averaged() -> None:
    layer = CodeVectors(parts=2, centroids=3, width=1)
    with torch.no_grad():
        layer.weight[1:, 0] = torch.tensor([1.0, 2.0, 3.0, 10.0, 20.0, 30.0])
    rows = layer.rows(torch.tensor([[0, 0], [2, 1]]))
    assert rows.tolist() == [[1, 4], [3, 5]]
    assert layer(rows).tolist() == [[5.5], [11.5]]  # (1 + 10) / 2 and (3 + 20) / 2


def test_it_equals_its_definition_with_the_gradient() -> None:
    torch.manual_seed(0)
    layer, codes = CodeVectors(4, 8, 5), torch.randint(8, (11, 4))
    upstream = torch.randn(11, 5)
    out = layer(layer.rows(codes).int())
    (out * upstream).sum().backward()
    tables = layer.weight.detach()[1:].view(4, 8, 5).clone().requires_grad_()
    expected = code_vectors_reference(codes, tables)
    (expected * upstream).sum().backward()
    torch.testing.assert_close(out, expected)
    assert layer.weight.grad is not None and tables.grad is not None
    torch.testing.assert_close(layer.weight.grad[1:].view(4, 8, 5), tables.grad)
    assert not layer.weight.grad[0].any()


def test_the_padding_has_the_zero_vector() -> None:
    layer = CodeVectors(3, 4, 2)
    assert not layer(torch.zeros(1, 3, dtype=torch.int32)).any()
