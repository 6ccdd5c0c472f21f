"""What the reproduction of R0 trains and draws: how large, with which seeds.

The pretrained model in many guided steps, and R0+ in few, are drawn with the same prompts and noises; every ablation
too, with fewer pictures. Settings of the training itself are the preset's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from plaudit.claims.precision import Precision, native_precision
from plaudit.claims.r0.variants import (
    ABLATIONS,
    BASE,
    GUIDANCE_ONLY,
    LONG,
    MAIN,
    REWARDS_ONLY,
    Follows,
    Method,
    variant_named,
)
from plaudit.core.errors import BadConfig
from plaudit.methods.r0 import R0Config

STEPS = 4
"""of the generator, as in the paper"""
MODEL = "pocket-base"
PICTURES, SEVERAL = "pictures", "several"
"""measures: what the claims are about; many pictures of few prompts"""
FEW, FEW_SEVERAL, GUIDED_FEW = "few", "few-several", "guided-few"
"""the same of the untrained model in few steps, and guided"""
EVAL_PROMPTS = 553
DECODED = 4
"""what decoding and judging a picture costs, in forwards of the network; learning from it, four times as much"""

Sampler = Literal["few", "fresh", "guided"]
"""few: a few steps without guidance, nothing drawn on the way; fresh: with fresh noise in every step, as consistency
models are drawn; guided: the pretrained model's own sampler"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: what it changes of the preset, and its seed. A method of "none" is the pretrained model itself."""

    name: str
    seed: int
    method: Method = "r0"
    changes: Mapping[str, Any] = field(default_factory=dict)
    follows: Follows = "all"


@dataclass(frozen=True, kw_only=True)
class Times:
    """Where few steps lie: a denoiser's grid."""

    shift: float = 1.0
    """how much they crowd towards the noise"""
    start: float = 1.0
    """the place of the first in the schedule"""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Pictures of PocketEval's prompts by one model, and what is said about them."""

    name: str
    steps: int
    sampler: Sampler
    times: Times
    """of the few steps"""
    prompts: int | None
    """evenly over the suite; None: all"""
    images: int
    """of each prompt"""
    fidelity: bool = True
    """whether they are compared with real renders"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the experiment."""

    seeds: tuple[int, ...] = (0, 1, 2)
    ablations: tuple[str, ...] = ABLATIONS
    ablation_seeds: tuple[int, ...] = (0, 1, 2)
    """of the seeds"""
    updates: int | None = None
    """None: the preset's"""
    long_updates: int | None = 600
    """of the R0+ that is set beside the base; None: that is the one that ablations are compared with"""
    precision: Precision = "float32"
    """of a training's products; pictures are always drawn in float32"""
    look_every: int = 20
    """updates between two looks"""
    look_prompts: int = 96
    """of PocketEval, a picture each"""
    prompts: int | None = None
    """of PocketEval, in the final measures; None: all"""
    images: int = 2
    """of each prompt by the base and by the R0+ that is set beside it"""
    ablation_images: int = 1
    several_prompts: int = 64
    """for diversity"""
    several_images: int = 4
    other_steps: tuple[int, ...] = (1, 2, 8)
    """that R0+ is drawn in, too"""
    renders: int = 4
    """real pictures of each prompt, for the reference"""
    timings: int = 3
    """drawings of both, one after the other, for each seed"""
    quick: bool = False

    def __post_init__(self) -> None:
        if not set(self.ablation_seeds) <= set(self.seeds):
            raise BadConfig(
                f"ablations are compared seed by seed, so their seeds {list(self.ablation_seeds)} must be among "
                f"{list(self.seeds)}"
            )
        if not 1 <= self.ablation_images <= self.images:
            raise BadConfig(f"ablation_images must be between 1 and images, {self.images}; got {self.ablation_images}")
        if self.long_updates is not None and self.long_updates < 1:
            raise BadConfig(f"long_updates must be at least 1, got {self.long_updates}")
        for name in self.ablations:
            variant_named(name)

    @property
    def tuned(self) -> str:
        """The name of the R0+ that is set beside the base."""
        return MAIN if self.long_updates is None else LONG


def full() -> Plan:
    """Decides the claims; some hours on two cores. Trains in bfloat16 where this machine multiplies in it natively."""
    return Plan(updates=100, precision=native_precision())


def quick() -> Plan:
    """A look in under four minutes: one seed, few updates, two ablations; decides nothing."""
    return Plan(
        seeds=(0,), ablation_seeds=(0,), ablations=(REWARDS_ONLY, GUIDANCE_ONLY), updates=4, long_updates=None,
        look_every=2, look_prompts=12, prompts=48, images=2, several_prompts=12, several_images=2, other_steps=(2,),
        renders=2, timings=1, quick=True,
    )  # fmt: skip


def base(seed: int) -> Training:
    """The pretrained model."""
    return Training(name=BASE, seed=seed, method="none")


def training(name: str, seed: int) -> Training:
    """The variant's training with this seed. Raises UnknownName."""
    it = variant_named(name)
    return Training(name=name, seed=seed, method=it.method, changes=it.changes, follows=it.follows)


def longer(plan: Plan, seed: int) -> Training:
    """R0+ for the plan's long_updates."""
    return replace(training(LONG, seed), changes={"updates": plan.long_updates})


def tuned(plan: Plan, seed: int) -> Training:
    """The R0+ that is set beside the base."""
    return training(MAIN, seed) if plan.long_updates is None else longer(plan, seed)


def trainings(plan: Plan) -> Iterator[Training]:
    """All, by seed, so that a first answer is there early; the pretrained model and R0+ first."""
    for seed in plan.seeds:
        yield base(seed)
        yield training(MAIN, seed)
        if plan.long_updates is not None:
            yield longer(plan, seed)
        if seed in plan.ablation_seeds:
            for name in plan.ablations:
                yield training(name, seed)


def measures(plan: Plan, it: Training, base_steps: int, times: Times) -> Iterator[Measure]:
    """What is drawn of the model once it is trained.

    `base_steps`: those of the pretrained model's own sampler. `times`: of the few steps, as R0+ was trained in them.
    """
    first = Measure(
        name=PICTURES, steps=STEPS, sampler="few", times=times, prompts=plan.prompts, images=plan.ablation_images
    )
    if it.method == "none":
        guided = replace(first, steps=base_steps, sampler="guided", times=Times(), images=plan.images)
        yield guided
        yield _several(plan, guided)
        yield replace(first, name=FEW)
        yield replace(_several(plan, first), name=FEW_SEVERAL)
        yield replace(guided, name=GUIDED_FEW, steps=STEPS, images=plan.ablation_images)
        return
    own = replace(
        first,
        sampler=_sampler(it),
        times=_times(it, times),
        images=plan.images if it.name == plan.tuned else plan.ablation_images,
    )
    yield own
    yield _several(plan, own)
    for steps in plan.other_steps if it.name == plan.tuned else ():
        yield replace(first, name=in_steps(steps), steps=steps)


def look(plan: Plan, it: Training, times: Times) -> Measure:
    """What is drawn while it is trained."""
    return Measure(
        name="look", steps=STEPS, sampler=_sampler(it), times=_times(it, times), prompts=plan.look_prompts, images=1,
        fidelity=False,
    )  # fmt: skip


def in_steps(steps: int) -> str:
    """The measure in another number of steps than it was trained in."""
    return f"steps-{steps}"


def cost(it: Training, plan: Plan, config: R0Config, drawn: Iterable[Measure]) -> float:
    """How much work a training with its measures is, in forwards of the network on one image; a rough guess."""
    measured = sum(_cost_of(measure) for measure in drawn)
    if it.method == "none":
        return measured
    updates = it.changes.get("updates", config.updates if plan.updates is None else plan.updates)
    looks = (1 + updates / plan.look_every) * plan.look_prompts * (STEPS + DECODED)
    # A backward costs as much as two forwards, and the frozen model is asked twice.
    update = (STEPS / 2 + 3 + 2 + 4 * DECODED) * config.images_per_update
    return measured + looks + updates * update


def _cost_of(measure: Measure) -> float:
    calls = 2 * measure.steps if measure.sampler == "guided" else measure.steps
    return (measure.prompts or EVAL_PROMPTS) * measure.images * (calls + DECODED)


def _several(plan: Plan, like: Measure) -> Measure:
    return replace(like, name=SEVERAL, prompts=plan.several_prompts, images=plan.several_images, fidelity=False)


def _sampler(it: Training) -> Sampler:
    return "fresh" if it.method == "rg-lcm" else "few"


def _times(it: Training, times: Times) -> Times:
    """Distillation learns equal strides from pure noise, and is drawn in them."""
    return Times() if it.method == "rg-lcm" else times
