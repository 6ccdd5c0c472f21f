"""Where to compute in float64: on the device itself, or on the CPU for Apple's GPUs, which have none."""

import torch
from torch import Tensor


def has_float64(device: torch.device) -> bool:
    """Whether the device computes in float64."""
    return device.type != "mps"


def float64_device(device: torch.device) -> torch.device:
    """The device, or the CPU if it has no float64."""
    return device if has_float64(device) else torch.device("cpu")


def precise(tensor: Tensor) -> Tensor:
    """The tensor in float64, on `float64_device` of its own device. Gradients go back through it."""
    # Two steps: a single one would make the float64 numbers on the device first.
    return tensor.to(float64_device(tensor.device)).double()
