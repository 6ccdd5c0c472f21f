"""What the reproduction of ReasonGen-R1 trains and draws: how large, with which seeds, and what it costs.

All models are asked for PocketEval's prompts from the same random numbers. The settings of each training are its
preset's; a training by rewards starts from what the lessons of the same seed left, so those come first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plaudit.claims.precision import Precision, native_precision
from plaudit.claims.reasongen.variants import ABLATIONS, BASE, CORE, DIRECT, HARD_JUDGE, MAIN, SFT, variant_named
from plaudit.core.errors import BadConfig
from plaudit.methods.plan_sft import PlanSftConfig
from plaudit.methods.reasongen_config import ReasonGenConfig

UNGUIDED = 1.0
"""the guidance that is none"""
COLDER = 0.8
"""the temperature of tokens at which rewards are compared with what sampling alone can do"""
PROMPTS = 553
"""of PocketEval"""
COMPARED = (*CORE, DIRECT)
"""models that are drawn with guidance too, and as often as the plan says"""

# What a picture costs, in milliseconds of one core of the machine that pocket-janus was measured on.
PLANNED, PLANNED_GUIDED, DIRECT_DRAWN, DIRECT_GUIDED, DECODED = 14.0, 26.0, 9.0, 19.0, 8.0
LEARNED, LEARNED_DIRECT = 13.0, 10.0
"""a forward and a backward pass of a response, with its plan and without"""
LESSON = 6.0
"""a scene and its picture as tokens"""
ASKED, REWARDED, JUDGED = 6.0, 2.6, 5.0
"""a question to the model; by a reward; by the judge"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: a variant, and its seed. One that is not trained is the model before."""

    name: str
    seed: int

    @property
    def trained(self) -> bool:
        """Whether anything is learned."""
        return variant_named(self.name).way != "none"

    @property
    def start(self) -> "Training | None":
        """The training whose weights it starts from; None for the model's as they are."""
        start = variant_named(self.name).start
        return None if start is None else Training(name=start, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Pictures of PocketEval's prompts by one model in one way, and what is said about them and their plans."""

    name: str
    guidance: float
    plan: bool
    images: int
    """of each prompt"""
    prompts: int | None
    """about so many, every task in its proportion; None: all"""
    temperature: float = 1.0
    """of tokens"""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Questions about pictures to one model."""

    name: str = "understanding"
    questions: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of the experiment."""

    seeds: tuple[int, ...] = (0, 1, 2)
    ablations: tuple[str, ...] = ABLATIONS
    ablation_seeds: tuple[int, ...] = (0, 1, 2)
    """of the seeds"""
    updates: int | None = None
    """by rewards; None: the preset's"""
    precision: Precision = "float32"
    """of a training's products; pictures that claims are about are always drawn in float32"""
    lesson_updates: int | None = None
    """None: the preset's"""
    lessons: int | None = None
    """scenes that lessons are of; None: the preset's"""
    prompts: int | None = None
    """about so many of PocketEval's, in the final measures; None: all"""
    images: int = 2
    """of each prompt, by the models that are compared"""
    ablation_images: int = 1
    """of each prompt, by the others: the first ones"""
    look_every: int = 30
    """updates between two looks"""
    look_prompts: int = 56
    look_images: int = 2
    """of each prompt"""
    questions: int = 1000
    """that each model is asked about pictures"""
    timings: int = 5
    """drawings with plans and without, in turns, for each seed"""
    quick: bool = False

    def __post_init__(self) -> None:
        if not set(self.ablation_seeds) <= set(self.seeds):
            raise BadConfig(
                f"ablations are compared seed by seed, so their seeds {list(self.ablation_seeds)} must be among "
                f"{list(self.seeds)}"
            )
        if not 2 <= self.look_images <= self.images:
            raise BadConfig(f"look_images must be between 2 and images, {self.images}; got {self.look_images}")
        if not 1 <= self.ablation_images <= self.images:
            raise BadConfig(f"ablation_images must be between 1 and images, {self.images}; got {self.ablation_images}")
        for name in self.ablations:
            if variant_named(name).name in CORE:
                raise BadConfig(f"{name!r} is no ablation; every plan has it")


def full() -> Plan:
    """Decides the claims; some hours on two cores. Trains in bfloat16 where this machine multiplies in it natively."""
    return Plan(precision=native_precision())


def quick() -> Plan:
    """A look in under five minutes: one seed, few updates and prompts, two ablations; decides nothing."""
    return Plan(
        seeds=(0,), ablation_seeds=(0,), ablations=(DIRECT, "no-control"), updates=3, lesson_updates=8, lessons=512,
        prompts=48, look_every=4, look_prompts=12, questions=100, timings=1, quick=True,
    )  # fmt: skip


def base(seed: int) -> Training:
    """The model before training."""
    return Training(name=BASE, seed=seed)


def training(name: str, seed: int) -> Training:
    """The variant's training with this seed. Raises UnknownName."""
    return Training(name=variant_named(name).name, seed=seed)


def trainings(plan: Plan) -> Iterator[Training]:
    """The model before training and the lessons with all seeds, from which others start; then by seed, the rest."""
    for name in (BASE, SFT):
        yield from (training(name, seed) for seed in plan.seeds)
    for seed in plan.seeds:
        yield training(MAIN, seed)
        if seed in plan.ablation_seeds:
            yield from (training(name, seed) for name in plan.ablations)


def measures(plan: Plan, it: Training, guidance: float) -> Iterator[Measure]:
    """What is drawn of the model once it is trained; `guidance` is that which the table of models names for it."""
    variant = variant_named(it.name)
    compared = it.name in COMPARED
    for planned in (True, False) if it.name == BASE else (variant.plan,):
        for scale in dict.fromkeys((UNGUIDED, guidance) if compared else (UNGUIDED,)):
            images = plan.images if compared else plan.ablation_images
            yield _measure(scale, planned, images=images, prompts=plan.prompts)
    if it.name in (SFT, MAIN):
        yield _measure(UNGUIDED, True, images=plan.images, prompts=plan.prompts, temperature=COLDER)


def look(plan: Plan, it: Training) -> Measure:
    """What is drawn while it is trained: some prompts' first pictures, as they are drawn in the end."""
    planned = variant_named(it.name).plan
    return _measure(UNGUIDED, planned, images=plan.look_images, prompts=plan.look_prompts)


def drawn_how(plan: bool, guidance: float, temperature: float = 1.0) -> str:
    """The name of the measure that draws so."""
    how = f"{'planned' if plan else 'direct'}-{guidance:g}"
    return how if temperature == 1.0 else f"{how}-at-{temperature:g}"


Config = ReasonGenConfig | PlanSftConfig


def cost(it: Training, plan: Plan, config: Config | None, drawn: Iterable[Measure], *, lessons: int) -> float:
    """How many seconds of one core's time a training with its measures takes. A rough guess.

    `config`: the training's, None if there is none; `lessons`: that it is given. Rewards: one that is followed, two
    that are held out.
    """
    measured = sum(_seen(measure) for measure in drawn) + plan.questions * ASKED
    if config is None:
        return measured / 1000
    learned = LEARNED if variant_named(it.name).plan else LEARNED_DIRECT
    looks = (1 + -(-config.updates // plan.look_every)) * _seen(look(plan, it))
    if isinstance(config, PlanSftConfig):
        update = config.lessons_per_update * learned
        return (measured + looks + lessons * LESSON + config.updates * update) / 1000
    # Probabilities and shares are hardly ever equal in a group; right or wrong are, and are drawn for again.
    rounds = config.rounds if it.name == HARD_JUDGE else 1
    judged = _drawn(config.plan, config.guidance) + DECODED + REWARDED
    # Forward passes alone: before several steps, and of the start that a divergence is from.
    forward = learned / 3
    before = forward if config.steps_per_pass > 1 else 0.0
    each_pass = config.passes * (learned + (forward if config.kl_weight > 0 else 0.0))
    update = config.images_drawn_per_update * (rounds * judged + before + each_pass)
    return (measured + looks + config.updates * update) / 1000


def _seen(measure: Measure) -> float:
    """Milliseconds of drawing and asking everybody."""
    prompts = PROMPTS if measure.prompts is None else measure.prompts
    return prompts * measure.images * (_drawn(measure.plan, measure.guidance) + DECODED + 3 * REWARDED + JUDGED)


def _drawn(plan: bool, guidance: float) -> float:
    if plan:
        return PLANNED if guidance == UNGUIDED else PLANNED_GUIDED
    return DIRECT_DRAWN if guidance == UNGUIDED else DIRECT_GUIDED


def _measure(
    guidance: float, plan: bool, *, images: int, prompts: int | None, temperature: float = 1.0
) -> Measure:  # fmt: skip
    return Measure(
        name=drawn_how(plan, guidance, temperature), guidance=guidance, plan=plan, images=images, prompts=prompts,
        temperature=temperature,
    )  # fmt: skip
