"""Negatives hidden from a query, against sets."""

import pytest
import torch

from trainer.nn.negative_mask import NegativeMask


@pytest.mark.parametrize("query_rows", [[3, 40, 3, 7], [41, 42, 43, 44], None])
def test_the_mask_is_that_of_sets(query_rows: list[int] | None) -> None:
    """Cover duplicate query rows, duplicate rows in the queue, and empty slots."""
    rows = torch.arange(50) % 45
    rows[[20, 49]] = -2
    owners = None if query_rows is None else torch.tensor(query_rows)
    mask = NegativeMask(owners, rows, empty=-2)
    expected = [[row in {-2, own} for row in rows.tolist()] for own in query_rows or [-2]]
    assert mask.columns(slice(None)).tolist() == expected
    some = torch.tensor([49, 3, 12])
    assert mask.columns(some).tolist() == [[line[at] for at in some] for line in expected]
