"""Where latents should go to please several judges at once: each one's gradient, made as long as the others'.

R0 (Luo et al. 2025) follows rewards whose gradients are rescaled to the same norm, and beside them an implicit reward:
how much likelier the frozen pretrained model finds the prompt for these latents, whose gradient is the direction of
classifier-free guidance. Shape letters: B images; a direction is shaped as the latents (B, ...).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import stream
from plaudit.generators.denoising import Denoising
from plaudit.generators.step_policy import rows_of
from plaudit.rewards.mix import WeightedSum

Normalise = Literal["latents", "pixels", "none"]
"""where each reward's gradient is given the length 1: in the latents; in the pixels, with one pass through the decoder
for all; or nowhere"""
Conflicts = Literal["sum", "pcgrad"]
"""of rewards that pull against each other: added up, or each without what is against another (Yu et al. 2020)"""

SHORTEST = 1e-12
"""a gradient of this length or less is none"""


def lengths(direction: Tensor) -> Tensor:
    """The Euclidean norm of each image's direction, (B,) float32."""
    return direction.float().flatten(1).norm(dim=1)


def unit(direction: Tensor) -> Tensor:
    """Each image's direction (B, ...) at length 1; one that is 0 or not finite becomes 0."""
    length = lengths(direction)
    fine = torch.isfinite(length) & (length > SHORTEST)
    safe = torch.where(fine, length, 1.0)
    return torch.where(rows_of(fine, direction), direction / rows_of(safe, direction), 0.0)


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """The cosine between the directions of each image, (B,); 0 where one of them is 0."""
    return (unit(one) * unit(other)).flatten(1).sum(dim=1)


def without_conflicts(directions: Sequence[Tensor], orders: Tensor) -> list[Tensor]:
    """PCGrad (Yu et al. 2020, algorithm 1) for every image apart: each direction loses what is against another.

    `orders` (B, N): the order in which an image's directions are projected onto the plane of each of the N.
    """
    found = []
    for place, own in enumerate(directions):
        left = own
        stacked = torch.stack(list(directions))
        for turn in range(len(directions)):
            which = orders[:, turn].to(own.device)
            other = stacked[which, torch.arange(len(own), device=own.device)]
            against = (left * other).flatten(1).sum(dim=1)
            square = other.flatten(1).square().sum(dim=1).clamp_min(SHORTEST**2)
            hurts = (against < 0) & (which != place)
            left = left - rows_of(torch.where(hurts, against / square, 0.0), left) * other
        found.append(left)
    return found


def reward_gradients(
    rewards: WeightedSum,
    latents: Tensor,
    prompts: Sequence[str],
    decode: Callable[[Tensor], Tensor],
    *,
    where: Normalise,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Of each reward the gradient in the latents (B, ...) and the raw scores (B,); and the images (B, 3, H, W).

    A weight's sign is in its gradient, and its size is not. One reward's graph exists at a time, and the decoder's is
    kept for all. With `where` pixels there is a single gradient, "rewards": the weighted sum of gradients of length 1
    in the pixels. Gradients that are not finite are 0.
    """
    leaf = latents.detach().requires_grad_()
    with torch.enable_grad():
        images = decode(leaf)
    scores: dict[str, Tensor] = {}
    slopes: dict[str, tuple[float, Tensor]] = {}
    for name, (rise, reward) in rewards.raw_parts().items():
        # How much the sum rises with a raw score has a normalised reward's units in it, and a weight has not.
        weight = abs(rewards.parts[name][0])
        picture = images.detach().requires_grad_(weight > 0)
        with torch.set_grad_enabled(weight > 0):
            score = reward(picture, prompts)
            summed = score.sum()
        scores[name] = score.detach().float()
        if weight > 0:
            slope = rise / weight * torch.autograd.grad(summed, picture)[0]
            slopes[name] = (weight, torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0))
    if where == "pixels" and slopes:
        total = sum(weight for weight, _ in slopes.values())
        joined = torch.stack([weight / total * unit(slope) for weight, slope in slopes.values()]).sum(dim=0)
        slopes = {"rewards": (1.0, joined)}
    found, left = {}, len(slopes)
    for name, (_, slope) in slopes.items():
        left -= 1
        found[name] = torch.autograd.grad(images, leaf, slope, retain_graph=left > 0)[0]
    return found, scores, images.detach()


def guidance_direction(
    frozen: Denoising, latents: Tensor, condition: Any, empty: Any, *, place: Tensor, eps: Tensor
) -> Tensor:
    """The direction (B, ...) in which a frozen model finds the prompt likelier, seen from a random noise level.

    clean(x, prompt) - clean(x, no prompt) at x = signal * latents + noise * eps, which is the gradient of log p(prompt
    | x) up to a factor of the level. `place` (B,) of the schedule between 0 and 1; `empty` the B unconditional rows.
    Nothing is differentiated.
    """
    with torch.no_grad():
        level = frozen.level_at(place)
        seen = level.noised(latents.detach(), eps)
        return frozen.clean(seen, level, condition) - frozen.clean(seen, level, empty)


def combine(
    directions: Mapping[str, Tensor],
    weights: Mapping[str, float],
    *,
    normalise: Normalise,
    orders: Tensor | None = None,
) -> Tensor:
    """The weighted sum (B, ...), with every direction at length 1 unless `normalise` is none.

    `orders` (B, N) removes conflicts first, as `without_conflicts` does.
    """
    parts = [found if normalise == "none" else unit(found) for found in directions.values()]
    if orders is not None and len(parts) > 1:
        parts = without_conflicts(parts, orders)
    return torch.stack([weights[name] * part for name, part in zip(directions, parts, strict=True)]).sum(dim=0)


def check_combination(normalise: str, conflicts: str) -> None:
    """Raises BadConfig for a setting that is not known."""
    if normalise not in get_args(Normalise):
        raise BadConfig(f"normalise is {', '.join(get_args(Normalise)[:-1])} or none, got {normalise!r}")
    if conflicts not in get_args(Conflicts):
        raise BadConfig(f"conflicts is {' or '.join(get_args(Conflicts))}, got {conflicts!r}")


def random_orders(keys: Sequence[tuple[int | str, ...]], count: int) -> Tensor:
    """An order of `count` things for every image, (B, count), from its own stream."""
    return torch.stack([torch.randperm(count, generator=stream(*key, "order")) for key in keys])
