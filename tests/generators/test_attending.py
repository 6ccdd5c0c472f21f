"""Attention in closed form: who may look at whom, heads that share keys, and the precision of the way back."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from plaudit.generators.attending import attend


def drawn(heads: int, rows: int, *, seed: int) -> torch.Tensor:
    return torch.randn(2, heads, rows, 8, generator=torch.Generator().manual_seed(seed))


def in_closed_form(query, key, value, allowed):
    repeats = query.shape[1] // key.shape[1]
    key, value = (it.double().repeat_interleave(repeats, dim=1) for it in (key, value))
    scores = (query.double() @ key.mT) / 8**0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value


BEFORE = torch.ones(5, 5, dtype=torch.bool).tril()


@pytest.mark.parametrize("heads", [4, 2], ids=["own keys", "shared keys"])
@pytest.mark.parametrize("lowered", [False, True], ids=["float32", "bfloat16 around"])
def test_it_is_softmax_of_products_and_exact_where_there_is_a_way_back(heads, lowered):
    query, key, value = drawn(4, 5, seed=0), drawn(heads, 5, seed=1), drawn(heads, 5, seed=2)
    hidden = BEFORE & torch.tensor([[[[True, True, False, True, True]]], [[[True] * 5]]]) | torch.eye(5).bool()
    query.requires_grad_(True)
    for allowed, told in ((BEFORE, None), (hidden, hidden)):
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            found = attend(query, key, value, told, causal=told is None)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), in_closed_form(query, key, value, allowed), rtol=1e-5, atol=1e-5)


def test_without_a_way_back_it_keeps_the_precision_that_is_asked_for():
    query, key, value = (drawn(2, 3, seed=seed) for seed in range(3))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert attend(query, key, value, None, causal=False).dtype == torch.bfloat16


def test_the_scale_can_be_said():
    query, key, value = (drawn(2, 3, seed=seed) for seed in range(3))
    flat = attend(query, key, value, None, causal=False, scale=0.0)
    torch.testing.assert_close(flat, value.mean(dim=2, keepdim=True).expand_as(flat), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("learns", [False, True])
def test_in_lower_precision_it_is_fused_even_where_plain_products_are_asked_for(learns):
    query, key, value = (drawn(2, 3, seed=seed).requires_grad_(learns) for seed in range(3))
    with (
        torch.autocast("cpu", torch.bfloat16),
        sdpa_kernel(SDPBackend.MATH),
        profile(activities=[ProfilerActivity.CPU]) as seen,
    ):
        attend(query, key, value, None, causal=False)
    assert any("flash_attention" in event.key for event in seen.key_averages())
