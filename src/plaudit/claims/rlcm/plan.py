"""What the reproduction of RLCM trains: which model on which task, how long, with which seeds.

Four tasks, each by RLCM (a latent consistency model in few steps) and by DDPO (its teacher in many steps of DDIM), in
the same code with the same settings; then, on the aesthetic task, other horizons, and a training that goes on for too
long, with and without the divergence from the start.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from plaudit.core.errors import BadConfig

TASKS = ("compression", "incompression", "aesthetic", "alignment")
CONSISTENCY, DIFFUSION = "pocket-lcm", "pocket-base"
ABLATED = "aesthetic"
"""the task of the ablations, as in the paper"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: all that decides it but the weights it starts from."""

    name: str
    task: str
    model: str
    steps: int
    """of the sampler"""
    updates: int
    look_every: int
    """updates between two looks"""
    seed: int
    prompts_per_update: int
    kl_weight: float = 0.0
    other_steps: tuple[int, ...] = ()
    """numbers of steps that the tuned model is also drawn in"""

    @property
    def images_per_update(self) -> int:
        return self.prompts_per_update * 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the experiment."""

    seeds: tuple[int, ...] = (0, 1, 2)
    horizon: int = 8
    """RLCM's steps"""
    diffusion_steps: int = 16
    """DDPO's"""
    updates: int = 48
    """of RLCM"""
    diffusion_updates: int = 16
    """of DDPO, whose images cost several times as much"""
    long_updates: int = 144
    """of the training that goes on for too long"""
    kl_weight: float = 1.0
    """of the one that is held back"""
    prompts_per_update: int = 16
    """with four images of each"""
    look_prompts: int = 48
    """prompts of the task at a look"""
    general_prompts: int = 96
    """of PocketEval, judged before and after"""
    other_steps: tuple[int, ...] = (1, 2, 4)
    horizons: tuple[int, ...] = (4, 2)
    """of the ablation, besides the usual"""
    quick: bool = False

    def __post_init__(self) -> None:
        if self.updates % self.diffusion_updates:
            raise BadConfig(
                f"RLCM's {self.updates} updates must be a multiple of DDPO's {self.diffusion_updates}, "
                "so that both are looked at after as many queries"
            )


def full() -> Plan:
    """Decides the claims; some hours on two cores."""
    return Plan()


def quick() -> Plan:
    """A look in under four minutes: one seed, two updates; decides nothing."""
    return Plan(
        seeds=(0,), horizon=4, diffusion_steps=5, updates=2, diffusion_updates=1, long_updates=3, prompts_per_update=2,
        look_prompts=4, general_prompts=6, other_steps=(2,), horizons=(2,), quick=True,
    )  # fmt: skip


def rlcm(plan: Plan, task: str, seed: int) -> Training:
    """The consistency model on a task."""
    return Training(
        name=f"rlcm-{task}", task=task, model=CONSISTENCY, steps=plan.horizon, updates=plan.updates,
        look_every=plan.diffusion_updates, seed=seed, prompts_per_update=plan.prompts_per_update,
        other_steps=plan.other_steps if task == ABLATED else (),
    )  # fmt: skip


def ddpo(plan: Plan, task: str, seed: int) -> Training:
    """The diffusion model on a task."""
    return replace(
        rlcm(plan, task, seed), name=f"ddpo-{task}", model=DIFFUSION, steps=plan.diffusion_steps,
        updates=plan.diffusion_updates, other_steps=(),
    )  # fmt: skip


def shorter(plan: Plan, horizon: int, seed: int) -> Training:
    """RLCM with another horizon, on the task of the ablations."""
    return replace(rlcm(plan, ABLATED, seed), name=f"horizon-{horizon}", steps=horizon, other_steps=())


def too_long(plan: Plan, seed: int, *, held_back: bool) -> Training:
    """RLCM that goes on for too long; `held_back` by the divergence from its start."""
    return replace(
        rlcm(plan, ABLATED, seed), name="long-with-kl" if held_back else "long", updates=plan.long_updates,
        look_every=plan.updates, kl_weight=plan.kl_weight if held_back else 0.0, other_steps=(),
    )  # fmt: skip


def trainings(plan: Plan) -> Iterator[Training]:
    """All, by seed, so that a first answer is there early; the long ones only once."""
    for seed in plan.seeds:
        for task in TASKS:
            yield rlcm(plan, task, seed)
            yield ddpo(plan, task, seed)
        for horizon in plan.horizons:
            yield shorter(plan, horizon, seed)
    for held_back in (False, True):
        yield too_long(plan, plan.seeds[0], held_back=held_back)


def cost(training: Training) -> float:
    """How much work a training is, in forwards of the network on one image; a backward costs as much as two."""
    calls = 2 if training.model == DIFFUSION else 1
    with_reference = 1 if training.kl_weight else 0
    learned = (training.steps - 1) * (3 + with_reference)
    return training.updates * training.images_per_update * calls * (training.steps + learned)
