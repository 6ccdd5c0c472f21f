"""A denoiser's way from noise to picture in few steps, part of it with a graph for gradients to return along.

Rows of a batch are images, and may be at different steps: calls with a gradient are shared by whatever rows need one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.core.random_streams import noise_for, stream
from plaudit.generators.denoising import Denoising, Fresh, Level, Rule, follow_ode, step_down
from plaudit.generators.recomputing import recomputed


class DenoisingWalk:
    """B images on their way down a grid of levels. Every image draws from the streams of its own key."""

    def __init__(
        self,
        denoising: Denoising,
        keys: Sequence[tuple[int | str, ...]],
        condition: Any,
        *,
        grid: Level,
        eta: float = 0.0,
        rule: Rule = "interpolate",
    ) -> None:
        """`eta`: the largest share of fresh noise in a step; each image and step draws its own. At 0 nothing is drawn,
        and the way is the sampler's ODE."""
        self.denoising, self.keys, self.condition, self.rule = denoising, list(keys), condition, rule
        self.grid, self.steps = grid, len(grid)
        self.recompute = False
        self.etas = torch.zeros(len(keys), self.steps)
        if eta > 0:
            self.etas = eta * torch.stack([torch.rand(self.steps, generator=stream(*key, "eta")) for key in keys])

    def start(self) -> Tensor:
        """Standard normal noise, (B, *noise_shape)."""
        return noise_for(self.keys, self.denoising.noise_shape).to(self.denoising.device)

    def to(self, first: Tensor) -> Tensor:
        """The latents (B, ...) that each image's step `first` (B,) starts from. Call it under no_grad."""
        latents = self.start()
        for step in range(int(first.max())):
            rows = (first > step).nonzero().flatten()
            at = torch.full_like(rows, step)
            here = rows.to(latents.device)
            clean = self.clean(latents[here], rows, at)
            latents = latents.index_copy(0, here, self.down(latents[here], clean, rows, at))
        return latents

    def judged_from(self, latents: Tensor, first: Tensor, judged: Tensor) -> Tensor:
        """The clean latents (B, ...) that step `judged` (B,) sees, walked to from `latents` at step `first` (B,)."""
        rows, at = torch.arange(len(first)), first
        found, places = [], []
        while len(rows):
            clean = self.clean(latents, rows, at)
            done = (at == judged[rows]).to(latents.device)
            found.append(clean[done])
            places.append(rows[at == judged[rows]])
            on = at != judged[rows]
            rows, at = rows[on], at[on]
            if len(rows):
                latents = self.down(latents[~done], clean[~done], rows, at)
                at = at + 1
        return torch.cat(found)[torch.cat(places).argsort().to(found[0].device)]

    def noised_again(self, count: int) -> tuple[Tensor, Tensor]:
        """What the last step sees in each finished picture noised `count` times over, (B * count, ...); and whose.

        DRaFT-LV (Clark et al. 2023, section 3.2): more gradients of the last step for one drawing.
        """
        last = torch.full((len(self.keys),), self.steps - 1)
        with torch.no_grad():
            finished = self.judged_from(self.to(last), last, last)
        rows = torch.arange(len(self.keys)).repeat_interleave(count)
        keys = [(*self.keys[row], "noised", place % count) for place, row in enumerate(rows.tolist())]
        eps = noise_for(keys, self.denoising.noise_shape).to(finished.device)
        level = self.grid[torch.full((len(rows),), self.steps - 1, device=finished.device)]
        noised = level.noised(finished[rows.to(finished.device)], eps)
        return self.clean(noised, rows, torch.full_like(rows, self.steps - 1)), rows

    def clean(self, latents: Tensor, rows: Tensor, at: Tensor) -> Tensor:
        """What the denoiser sees in the latents of these rows at these steps."""
        device = latents.device
        call = self.denoising.clean
        given = (latents, self.grid[at.to(device)], self.condition[rows.to(device)])
        return recomputed(call, *given) if self.recompute else call(*given)

    def down(self, latents: Tensor, clean: Tensor, rows: Tensor, at: Tensor) -> Tensor:
        """The latents where these rows' next steps start."""
        device = latents.device
        etas = self.etas[rows, at].to(device)
        fresh = torch.zeros_like(clean)
        if bool((self.etas > 0).any()):
            keys = [(*self.keys[row], step) for row, step in zip(rows.tolist(), at.tolist(), strict=True)]
            fresh = noise_for(keys, self.denoising.noise_shape).to(device)
        now, then = self.grid[at.to(device)], self.grid[at.to(device) + 1]
        return step_down(latents, clean, now, then, Fresh(noise=fresh, eta=etas, rule=self.rule))


def draw_few_steps(
    denoising: Denoising, keys: Sequence[tuple[int | str, ...]], condition: Any, *, grid: Level, fresh: bool = False
) -> Tensor:
    """The images (B, 3, H, W) that the denoiser draws on a grid of levels, each from its own key.

    Without fresh noise, or with nothing but `fresh` noise in every step, as consistency models are sampled.
    """
    with torch.no_grad():
        if not fresh:
            noise = noise_for(keys, denoising.noise_shape).to(denoising.device)
            return denoising.decode(follow_ode(denoising, noise, condition, grid))
        walk = DenoisingWalk(denoising, keys, condition, grid=grid)
        walk.etas.fill_(1.0)
        last = torch.full((len(keys),), len(grid) - 1)
        return denoising.decode(walk.judged_from(walk.to(last), last, last))
