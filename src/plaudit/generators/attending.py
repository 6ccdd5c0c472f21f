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
    came before. In float32 where bfloat16 would be slower: on its way back on a CPU, by a third or more.
    """
    if query.device.type == "cpu" and query.requires_grad and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False), sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            return attend(query.float(), key.float(), value.float(), allowed, causal=causal, scale=scale)
    shared = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, is_causal=causal, scale=scale, enable_gqa=shared
    )
