"""Settings for R0 and R0+ (Luo et al. 2025, arXiv 2503.13070).

The paper gives the backbones, 4 steps, the rewards and the devices against collapse; it gives no weights of rewards, no
rates, no batch and no number of updates, and no code has been published. So every number here is ours but those that
`origin` names.
"""

from dataclasses import replace
from functools import cache

from plaudit.methods.r0 import R0Config
from plaudit.presets.task import Task

_PAPERS = "steps, rewards and the random step of R0+ are the paper's (Luo et al. 2025, table 1, figures 7 and 10)"

PLACES = (
    "in a snowy forest", "on a beach at sunset", "in a busy market", "beside a mountain lake", "on a rooftop at night",
    "in a field of sunflowers", "in heavy rain", "in a library", "in a desert", "under a stone bridge",
)  # fmt: skip
STYLES = ("a photograph of", "an oil painting of", "a watercolour of", "a pencil drawing of", "concept art of")
SUBJECTS = (
    "an old fisherman", "a young dancer", "a red bicycle", "a lighthouse", "a fox", "two dogs", "three paper lanterns",
    "a wooden boat", "a steam train", "a white horse", "a blue teapot beside a yellow cup", "a castle", "an owl",
    "a violinist", "a green car", "a child with a kite", "a black cat on a red chair", "four hot air balloons",
    "a robot holding a flower", "a bowl of oranges",
)  # fmt: skip

_POCKET = R0Config(
    updates=120,
    images_per_update=32,
    shift=2.0,
    start=0.95,
    guidance_high=0.5,
    eta=0.0,
    pull=10.0,
    lr=3e-4,
    warmup=5,
    decay="cosine",
    batch_size=16,
)
"""From pure noise, equal strides draw grey backgrounds alone (FID 60, where many guided steps have 12): the start below
it and the shift keep the others. The frozen model's view through much noise makes backgrounds more alike, and
so does fresh noise while training, which the paper's R0+ has: `--eta 1` brings it back."""


def pocket_r0_plus() -> Task:
    """Ours: pocket-base in 4 steps, all weights, prompts of all six tasks; R0+."""
    return Task(
        model="pocket-base", rewards=("hps:1", "imagereward:1", "clip:1"),
        held_out="pickscore", prompts=scenes_in_words(1024), rank=0,
        alpha=0.0, config=_POCKET, origin=f"ours, for the pocket world on two CPU cores; {_PAPERS}",
    )  # fmt: skip


def pocket_r0() -> Task:
    """Ours: the same with the reward of the last picture through all four steps; R0."""
    task = pocket_r0_plus()
    return replace(task, config=replace(task.config, truncation="all"))


def sd15() -> Task:
    """For Stable Diffusion 1.5 and its kin, such as Realistic Vision, at 512 pixels on one GPU; R0+ with a LoRA."""
    config = R0Config(
        updates=3000, images_per_update=64, lr=1e-4, ema=0.995, grad_clip=1.0, batch_size=8, recompute=True,
    )  # fmt: skip
    return Task(
        model="sd-1.5", rewards=("hpsv2.1:1", "imagereward-v1:1", "clip-vit-l14:1"),
        held_out="pickscore-v1", prompts=pictures(),
        rank=64, alpha=64.0, config=config, origin=f"ours; {_PAPERS}",
    )  # fmt: skip


def sd3() -> Task:
    """For Stable Diffusion 3 Medium at 1024 pixels on one GPU of 80 GB; R0+ with a LoRA and the detail reward.

    The paper shows guidance at high resolution (figure 14) and not how it is done: that is ours.
    """
    config = R0Config(
        updates=1500, images_per_update=32, lr=5e-5, ema=0.995, grad_clip=1.0, batch_size=2, recompute=True,
        detail_weight=1.0,
    )  # fmt: skip
    return replace(sd15(), model="sd3-medium", config=config, rank=32, alpha=32.0)


TASKS = {"pocket-r0-plus": pocket_r0_plus, "pocket-r0": pocket_r0, "sd15": sd15, "sd3": sd3}


@cache
def scenes_in_words(count: int) -> tuple[str, ...]:
    """`count` different prompts about scenes of the pocket world, none of them PocketEval's or held out there."""
    import numpy as np

    from plaudit.pocket.prompts import describe
    from plaudit.pocket.scenes import draw_scene
    from plaudit.suites.pocket_eval import pocket_eval_prompts

    rng, taken = np.random.default_rng(7), {prompt.text for prompt in pocket_eval_prompts()}
    found: dict[str, None] = {}
    while len(found) < count:
        text, _ = describe(draw_scene(rng), rng)
        if text not in taken:
            found[text] = None
    return tuple(found)


def pictures() -> tuple[str, ...]:
    """A prompt for every subject and place, in a style; neighbours in the list differ in all three.

    Ours: the paper's prompts are JourneyDB's, which are not ours to hand on; give them by --prompts.
    """
    return tuple(
        f"{STYLES[(i + lap) % len(STYLES)]} {SUBJECTS[i % len(SUBJECTS)]} {PLACES[(i + lap) % len(PLACES)]}"
        for i in range(len(SUBJECTS) * len(PLACES))
        for lap in (i // len(SUBJECTS),)
    )
