"""What the reproduction of AR-GRPO with LOO-FID trains and draws: how large, with which seeds.

The model before training is drawn at several guidances, so that its best is known; after training without guidance, and
at that best. All models are asked for the same classes from the same random numbers. Settings of the training are the
preset's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from plaudit.claims.ar_grpo.variants import ABLATIONS, BASE, INSTANCE_ONLY, MAIN, variant_named
from plaudit.claims.precision import Precision, native_precision
from plaudit.core.errors import BadConfig
from plaudit.methods.ar_grpo_config import ArGrpoConfig

UNGUIDED = 1.0
"""the guidance that is none"""
NUM_CLASSES = 64
"""of pocket-llamagen: shapes in colours"""

# What a picture costs, in milliseconds of one core of the machine that pocket-llamagen was measured on.
DRAWN, DRAWN_GUIDED, DECODED = 5.4, 9.3, 7.0
READ, LEARNED = 3.6, 9.0
"""all its tokens' log-probabilities at once; with the way back"""
REWARDED, SEEN, JUDGED = 2.5, 1.9, 5.0
"""by a reward, by a feature net, by the judge"""
RENDERED = 2.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: what it changes of the preset, and its seed. One that is not trained is the model before."""

    name: str
    seed: int
    trained: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    guided: bool = False


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Pictures of every class by one model at one guidance, and what is said about them."""

    name: str
    guidance: float
    images: int
    """of each class"""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The guidances of the grid at which the model before training has the lowest FID."""

    of_all: float
    guided: float
    """among those that are guidance, above 1"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the experiment."""

    seeds: tuple[int, ...] = (0, 1, 2)
    ablations: tuple[str, ...] = ABLATIONS
    ablation_seeds: tuple[int, ...] = (0, 1, 2)
    """of the seeds"""
    updates: int | None = None
    """None: the preset's"""
    precision: Precision = "float32"
    """of a training's products; pictures that claims are about are always drawn in float32"""
    guidances: tuple[float, ...] = (UNGUIDED, 1.5, 2.0, 2.5, 3.0, 4.0)
    """that the model before training is drawn at"""
    images: int = 16
    """of each class, in the final measures"""
    look_every: int = 20
    """updates between two looks"""
    look_images: int = 4
    """of each class"""
    renders: int = 16
    """real pictures of each class that measures compare with"""
    training_renders: int = 32
    """others, that LOO-FID compares with"""
    start_images: int | None = None
    """of the model before training, that LOO-FID begins with; None: the preset's"""
    timings: int = 3
    """drawings of both, one after the other, for each seed"""
    quick: bool = False

    def __post_init__(self) -> None:
        if not set(self.ablation_seeds) <= set(self.seeds):
            raise BadConfig(
                f"ablations are compared seed by seed, so their seeds {list(self.ablation_seeds)} must be among "
                f"{list(self.seeds)}"
            )
        if UNGUIDED not in self.guidances or max(self.guidances) <= UNGUIDED:
            raise BadConfig(
                f"the guidances must have 1, which is none, and one above it; got {list(self.guidances)}"
            )  # fmt: skip
        if not 2 <= self.look_images <= self.images:
            raise BadConfig(f"look_images must be between 2 and images, {self.images}; got {self.look_images}")
        for name in self.ablations:
            variant_named(name)


def full() -> Plan:
    """Decides the claims; some hours on two cores. Trains in bfloat16 where this machine multiplies in it natively."""
    return Plan(precision=native_precision())


def quick() -> Plan:
    """A look in under four minutes: one seed, few updates, one ablation; decides nothing."""
    return Plan(
        seeds=(0,), ablation_seeds=(0,), ablations=(INSTANCE_ONLY,), updates=3, guidances=(UNGUIDED, 2.0), images=4,
        look_every=3, look_images=2, renders=8, training_renders=8, start_images=256, timings=1, quick=True,
    )  # fmt: skip


def base(seed: int) -> Training:
    """The model before training."""
    return Training(name=BASE, seed=seed, trained=False)


def training(name: str, seed: int) -> Training:
    """The variant's training with this seed. Raises UnknownName."""
    it = variant_named(name)
    return Training(name=name, seed=seed, changes=it.changes, memory=it.memory, guided=it.guided)


def trainings(plan: Plan) -> Iterator[Training]:
    """The model before training with all seeds, whose best guidance decides more; then by seed, the preset first."""
    yield from map(base, plan.seeds)
    for seed in plan.seeds:
        yield training(MAIN, seed)
        if seed in plan.ablation_seeds:
            for name in plan.ablations:
                yield training(name, seed)


def measures(plan: Plan, it: Training, best: Best | None) -> Iterator[Measure]:
    """What is drawn of the model once it is trained. `best` is not needed for the model before training.

    Raises BadConfig for another model if it is not known.
    """
    if not it.trained:
        yield from (_at(guidance, plan.images) for guidance in sorted(plan.guidances))
        return
    yield _at(UNGUIDED, plan.images)
    if it.name == MAIN:
        if best is None:
            raise BadConfig("the best guidance is not known before the untrained model is measured with every seed")
        if best.of_all != UNGUIDED:
            yield _at(best.of_all, plan.images)


def look(plan: Plan) -> Measure:
    """What is drawn while it is trained: the first of the pictures that are drawn in the end."""
    return Measure(name="look", guidance=UNGUIDED, images=plan.look_images)


def at_guidance(guidance: float) -> str:
    """The name of the measure at this guidance."""
    return f"guidance-{guidance:g}"


def cost(
    it: Training, plan: Plan, config: ArGrpoConfig, drawn: Iterable[Measure], *, start_images: int, rewards: int
) -> float:
    """How many seconds of one core's time a training with its measures takes, on classes as many as pocket-llamagen's.

    `rewards`: how many it follows; one more is held out. A rough guess.
    """
    looked_at = (rewards + 1) * REWARDED + 2 * SEEN + JUDGED
    measured = sum(measure.images * (_drawn(measure.guidance) + READ + looked_at) for measure in drawn)
    total = NUM_CLASSES * (measured + plan.renders * (RENDERED + 2 * SEEN))
    if it.trained:
        updates = config.updates if plan.updates is None else plan.updates
        looks = 1 + -(-updates // plan.look_every)
        total += looks * NUM_CLASSES * plan.look_images * (_drawn(UNGUIDED) + READ + looked_at)
        total += start_images * (_drawn(config.guidance) + SEEN) + NUM_CLASSES * plan.training_renders * RENDERED
        before = READ if config.kl_weight else 0.0
        steps = config.passes * (LEARNED + before) + (READ if config.passes * config.steps_per_pass > 1 else 0.0)
        update = _drawn(config.guidance) + rewards * REWARDED + SEEN + steps
        total += updates * config.images_drawn_per_update * update
    return total / 1000


def _at(guidance: float, images: int) -> Measure:
    return Measure(name=at_guidance(guidance), guidance=guidance, images=images)


def _drawn(guidance: float) -> float:
    return (DRAWN if guidance == UNGUIDED else DRAWN_GUIDED) + DECODED
