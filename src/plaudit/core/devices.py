"""Which device to use, and which precision is fast on it."""

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from plaudit.core.errors import BadConfig


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def free_memory(device: torch.device) -> int | None:
    """The bytes of a GPU's memory that nothing uses yet; None for a CPU."""
    if device.type == "cuda":
        # What torch keeps of models that are gone it uses again, and the driver counts it as used.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type == "mps":
        torch.mps.empty_cache()
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively. A CPU that does not takes hundreds of times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def check_fast_bfloat16(device: torch.device) -> None:
    """Raises BadConfig where bfloat16 is not native."""
    if not has_fast_bfloat16(device):
        raise BadConfig(f"this {device.type} has no native bfloat16, and is faster in float32")


@contextlib.contextmanager
def fast_autocast(device: torch.device) -> Iterator[None]:
    """bfloat16 autocast where the device has it natively, else nothing. For training the pocket models."""
    if not has_fast_bfloat16(device):
        yield
        return
    # A CPU's fused attention takes most of a small model's backward pass in bfloat16: plain products are faster.
    plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()
    with torch.autocast(device.type, torch.bfloat16), plain:
        yield
