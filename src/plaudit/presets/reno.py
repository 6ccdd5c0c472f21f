"""Settings of ReNO, each with where its numbers come from (Eyring et al. 2024; released code at bd6f6ac)."""

from dataclasses import replace

from plaudit.methods.reno import RenoConfig


def sd_turbo() -> RenoConfig:
    """The released code's defaults, for every model of 512 pixels: SD-Turbo, SDXL-Turbo, PixArt-alpha-DMD."""
    return RenoConfig(steps=50, lr=5.0, momentum=0.9, grad_clip=0.1, prior_weight=0.01)


def hyper_sd() -> RenoConfig:
    """The released code's setting for HyperSDXL at 1024 pixels: twice the step, for four times the noise."""
    return replace(sd_turbo(), lr=10.0)


def demo() -> RenoConfig:
    """The public demo's setting: half the step, "for smoother trajectories"."""
    return replace(sd_turbo(), lr=2.5)


def pocket() -> RenoConfig:
    """Ours, for the pocket models: as published, but the step scaled to the noise's size (about 0.9)."""
    return replace(sd_turbo(), lr=None)


def published_rewards() -> dict[str, float]:
    """The released code's reward weights. CLIP's is for a score of about 100 times the cosine, as ours is."""
    return {"imagereward": 1.0, "hps": 5.0, "pickscore": 0.05, "clip": 0.01}


def reward_specs() -> tuple[str, ...]:
    """The same as `load_rewards` and --reward take them."""
    return tuple(f"{name}:{weight:g}" for name, weight in published_rewards().items())
