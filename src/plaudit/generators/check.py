"""The contract of generators, run: for authors of generators, for the tests over every row, and for `plaudit
check`.
"""

import torch
from torch import Tensor

from plaudit.core.errors import BrokenContract
from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import Condition, NoiseGenerator

PROMPTS = ("a red circle", "two blue squares on a white background", "a green star left of a yellow ring")


def check_generator(generator: NoiseGenerator) -> None:
    """Run `generator` on three small prompts and raise BrokenContract at the first broken promise."""
    name = type(generator).__name__
    noise = noise_for([("check", row) for row in range(3)], generator.noise_shape).to(generator.device)
    condition = generator.encode(PROMPTS)
    _check_condition(name, condition)
    images = _check_images(name, generator, noise, condition)
    _check_rows(name, generator, noise, images)
    _check_gradient(name, generator, noise, condition)


def _check_condition(name: str, condition: Condition) -> None:
    if len(condition) != 3:
        raise BrokenContract(f"{name}: encode must return one row per prompt; 3 prompts gave {len(condition)} rows")
    if len(condition[1:]) != 2 or len(condition[[2, 0]]) != 2:
        raise BrokenContract(
            f"{name}: a condition's rows must be chosen by slices and lists; of 3 rows, "
            f"[1:] gave {len(condition[1:])} and [[2, 0]] gave {len(condition[[2, 0]])}"
        )


def _check_images(name: str, generator: NoiseGenerator, noise: Tensor, condition: Condition) -> Tensor:
    before = noise.clone()
    with torch.no_grad():
        images = generator.sample(noise, condition)
        again = generator.sample(noise, condition)
    if images.dim() != 4 or images.shape[:2] != (3, 3):
        raise BrokenContract(f"{name}: 3 noises must give images (3, 3, H, W), got {tuple(images.shape)}")
    if not images.is_floating_point() or not bool(torch.isfinite(images).all()):
        raise BrokenContract(f"{name}: images must be finite floating point, got {images.dtype}")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise BrokenContract(f"{name}: images must lie in [0, 1], got {low:.3f} to {high:.3f}")
    if not torch.equal(noise, before):
        raise BrokenContract(f"{name}: must not change the noise it is given")
    if not _close(images, again):
        raise BrokenContract(f"{name}: the same noise and prompt must give the same image; two calls differ")
    return images


def _check_rows(name: str, generator: NoiseGenerator, noise: Tensor, images: Tensor) -> None:
    with torch.no_grad():
        alone = [generator.sample(noise[i : i + 1], generator.encode(PROMPTS[i : i + 1])) for i in range(3)]
        turned = generator.sample(noise.flip(0), generator.encode(PROMPTS[::-1])).flip(0)
    if not _close(images, torch.cat(alone)):
        raise BrokenContract(f"{name}: an image must not depend on its batch; alone and together differ")
    if not _close(images, turned):
        raise BrokenContract(f"{name}: an image must not depend on its place in the batch")
    if _close(images[0], images[1]) and _close(images[1], images[2]):
        raise BrokenContract(f"{name}: three noises and prompts gave three times the same image")


def _check_gradient(name: str, generator: NoiseGenerator, noise: Tensor, condition: Condition) -> None:
    leaf = noise.clone().requires_grad_()
    with torch.enable_grad():
        images = generator.sample(leaf, condition)
    if not images.requires_grad:
        raise BrokenContract(f"{name}: no gradient reaches the noise; `sample` must not decide about gradients")
    # One row's image, so that a mixing of rows shows as a gradient where none belongs.
    weights = torch.linspace(0.5, 1.5, images[0].numel(), device=images.device).view_as(images[0])
    trained = [leaf, *_leaves(images)]
    gradients = torch.autograd.grad((images[0] * weights).sum(), trained, allow_unused=True)
    first = gradients[0]
    if first is None or not bool(torch.isfinite(first).all()) or not bool(first[0].abs().sum() > 0):
        raise BrokenContract(f"{name}: no gradient reaches the noise, or it is not finite")
    if bool(first[1:].abs().sum() > 0):
        raise BrokenContract(f"{name}: an image's gradient reaches the noise of other images")
    if any(gradient is not None for gradient in gradients[1:]):
        raise BrokenContract(f"{name}: gradients reach its parameters; freeze them (requires_grad_(False))")


def _leaves(images: Tensor) -> list[Tensor]:
    """The parameters that the images' graph would train."""
    found: list[Tensor] = []
    seen, todo = set(), [images.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.nn.Parameter):
            found.append(variable)
        todo.extend(parent for parent, _ in node.next_functions)
    return found


def _close(first: Tensor, second: Tensor) -> bool:
    # Reduced precision and batch-dependent kernels move the last digits; a broken contract moves the first.
    return torch.allclose(first.float(), second.float(), rtol=1e-2, atol=5e-3)
