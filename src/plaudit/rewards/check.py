"""The contract of rewards, run: for authors of rewards, for the tests over every row, and for `plaudit
check`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from plaudit.core.errors import BrokenContract
from plaudit.core.random_streams import stream
from plaudit.rewards.reward import Reward

PROMPTS = ("a red circle", "two blue squares on a white background", "a green star left of a yellow ring")
SIZES = ((64, 64), (48, 80))


def check_reward(reward: Reward, *, device: str = "cpu", name: str | None = None) -> None:
    """Run `reward` on small inputs and raise BrokenContract, with its name, at the first broken promise."""
    name = name or type(reward).__name__
    for height, width in SIZES:
        images = torch.rand(3, 3, height, width, generator=stream("check", height, width)).to(device)
        _check_scores(name, reward, images)
        _check_rows(name, reward, images)
        _check_extremes(name, reward, images)
        _check_gradient(name, reward, images)


def _check_scores(name: str, reward: Reward, images: Tensor) -> None:
    before = images.clone()
    scores = reward(images, PROMPTS)
    if not isinstance(scores, Tensor) or scores.shape != (3,):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise BrokenContract(f"{name}: must return one score per image; 3 images gave {got}, wanted (3,)")
    if scores.dtype != torch.float32 or scores.device != images.device:
        raise BrokenContract(
            f"{name}: scores must be float32 on the images' device; "
            f"got {scores.dtype} on {scores.device}, wanted torch.float32 on {images.device}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise BrokenContract(f"{name}: scores must be finite, got {scores.tolist()}")
    if not torch.equal(images, before):
        raise BrokenContract(f"{name}: must not change the images it is given")
    again = reward(images, PROMPTS)
    if not _close(scores, again):
        raise BrokenContract(
            f"{name}: the same image must score the same; first {scores.tolist()}, then {again.tolist()}"
        )


def _check_rows(name: str, reward: Reward, images: Tensor) -> None:
    scores = reward(images, PROMPTS)
    alone = torch.cat([reward(images[i : i + 1], PROMPTS[i : i + 1]) for i in range(3)])
    if not _close(scores, alone):
        raise BrokenContract(
            f"{name}: an image's score must not depend on its batch; together {scores.tolist()}, alone {alone.tolist()}"
        )
    turned: Sequence[str] = PROMPTS[::-1]
    back = reward(images.flip(0), turned).flip(0)
    if not _close(scores, back):
        raise BrokenContract(
            f"{name}: an image's score must not depend on its place in the batch; "
            f"in order {scores.tolist()}, reversed {back.tolist()}"
        )


def _check_extremes(name: str, reward: Reward, images: Tensor) -> None:
    """Black, white and extreme images must score finitely too: methods meet them."""
    extreme = torch.stack([torch.zeros_like(images[0]), torch.ones_like(images[0]), images[0].round()])
    scores = reward(extreme, PROMPTS)
    if not bool(torch.isfinite(scores).all()):
        raise BrokenContract(f"{name}: scores of black, white and saturated images are {scores.tolist()}")


def _check_gradient(name: str, reward: Reward, images: Tensor) -> None:
    if not reward.differentiable:
        return
    leaf = images.clone().requires_grad_()
    scores = reward(leaf, PROMPTS)
    gradient = None
    if scores.requires_grad:
        gradient = torch.autograd.grad(scores.sum(), leaf, allow_unused=True)[0]
    if gradient is None:
        raise BrokenContract(f"{name}: says it is differentiable, but no gradient reaches the image")
    if not bool(torch.isfinite(gradient).all()):
        raise BrokenContract(f"{name}: its gradient in the image is not finite")
    reached = gradient.flatten(1).abs().sum(dim=1) > 0
    if not bool(reached.all()):
        dead = [i for i, ok in enumerate(reached.tolist()) if not ok]
        raise BrokenContract(
            f"{name}: says it is differentiable, but no gradient reaches the image (zero in rows {dead} of 3)"
        )


def _close(first: Tensor, second: Tensor) -> bool:
    # Reduced precision and batch-dependent kernels move the last digits; a broken contract moves the first.
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-3, atol=1e-4)
