"""Recomputing activations in the backward pass, in networks that are frozen and in eval mode."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def set_checkpointing(enabled: bool, *networks: Any) -> None:
    """Switch diffusers' own checkpointing of the networks' blocks, which asks for gradients and not for train mode."""
    for network in networks:
        if enabled:
            network.enable_gradient_checkpointing()
        else:
            network.disable_gradient_checkpointing()


def recomputed(function: Callable[..., T], *inputs: Any, draws: bool = False, **named: Any) -> T:
    """function(*inputs, **named), which keeps no activations but its inputs where gradients are on.

    `draws`: it draws random numbers, which the second run must draw again.
    """
    if not torch.is_grad_enabled():
        return function(*inputs, **named)
    found: T = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=draws, **named)
    return found
