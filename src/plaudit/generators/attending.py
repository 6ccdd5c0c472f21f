"""Attention of the token models: the library's fused kernels, and in which precision they are asked."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, *, causal: bool, scale: float | None = None
) -> Tensor:
    """Values (B, H, n, d) by how much queries (B, H, n, d) look at keys (B, h, m, d); h divides H.

    `allowed`: who may look at whom, (B, 1, n, m), bool or as numbers that are added; None: all, or if `causal` at what
    came before. On a CPU where products are in bfloat16 it is in bfloat16 without a way back, and in float32 with one,
    where bfloat16 would be slower by a third or more; fused both times, whatever is asked for around it.
    """
    if not (query.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        return _attend(query, key, value, allowed, causal=causal, scale=scale)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        if not query.requires_grad:
            return _attend(query, key, value, allowed, causal=causal, scale=scale)
        with torch.autocast("cpu", enabled=False):
            return _attend(query.float(), key.float(), value.float(), allowed, causal=causal, scale=scale)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, *, causal: bool, scale: float | None
) -> Tensor:
    shared = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, is_causal=causal, scale=scale, enable_gqa=shared
    )
