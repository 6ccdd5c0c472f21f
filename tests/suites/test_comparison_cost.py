import pytest
import torch
from toys import Colour, Painter, Rounded, Texture

from plaudit.core.errors import BadConfig
from plaudit.generators.table import load_generator
from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.methods.search import SearchConfig, best_of_n, evolve
from plaudit.rewards.mix import WeightedSum
from plaudit.suites.comparison_cost import (
    LEAST_STEPS,
    Bidder,
    Metered,
    Pace,
    Stopwatch,
    equal_cost,
    forwards_pace,
    median_pace,
    pace_of,
)

PROMPTS = ["a red star", "a blue ring"]
REWARDS = WeightedSum({"colour": (1.0, Colour()), "texture": (0.5, Texture())})


class Clock:
    """A time that passes only where a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(Painter):
    """A second for each picture without a gradient, three with one, and ten the first time."""

    def __init__(self, clock, *, first=0.0):
        super().__init__()
        self.clock, self.first = clock, first

    def sample(self, noise, condition):
        self.clock.now += len(noise) * (3.0 if torch.is_grad_enabled() and noise.requires_grad else 1.0) + self.first
        self.first = 0.0
        return super().sample(noise, condition)


def searching(method, generator, pictures, rewards=REWARDS):
    if method == "reno":
        return optimise_noise(generator, rewards, PROMPTS, RenoConfig(steps=pictures, batch_size=2))
    config = SearchConfig(forwards=pictures, batch_size=2)
    return (best_of_n if method == "best-of-n" else evolve)(generator, rewards, PROMPTS, config)


@pytest.mark.parametrize(
    ("method", "pictures", "pace"),
    [
        ("reno", 5, Pace(base=1, step=3)),
        ("best-of-n", 4, Pace(base=1, step=1)),
        ("evolve", 25, Pace(base=1, step=8, pictures=8)),
    ],
)
def test_a_methods_pace_is_read_off_a_clock(method, pictures, pace):
    clock = Clock()
    assert pace_of(lambda: searching(method, Slow(clock), pictures), searches=method, clock=clock) == pace


@pytest.mark.parametrize("method", ["reno", "best-of-n", "evolve"])
@pytest.mark.parametrize("pictures", [9, 17])
def test_what_a_pace_foretells_is_what_a_longer_run_takes(method, pictures):
    clock = Clock()
    pace = pace_of(lambda: searching(method, Slow(clock), 17), searches=method, clock=clock)
    watch = Stopwatch(clock)
    for _ in watch.watch(searching(method, Slow(clock), pictures)):
        clock.now += 100  # what the watcher does is not the method's
    assert watch.seconds / len(PROMPTS) == pytest.approx(pace.cost(pictures))


def test_a_model_as_it_is_has_no_further_steps():
    clock = Clock()
    pace = pace_of(lambda: searching("reno", Slow(clock), 1), searches=None, clock=clock)
    assert pace == Pace(base=1, step=0)
    assert pace.pictures_for(1000) == 1


def test_one_slow_start_does_not_change_a_pace_of_several_rounds():
    clock = Clock()
    slow = Slow(clock, first=50)
    rounds = [pace_of(lambda: searching("best-of-n", slow, 4), searches="best-of-n", clock=clock) for _ in range(3)]
    assert rounds[0].base > 20
    assert median_pace(rounds) == Pace(base=1, step=1)


def test_a_single_step_is_no_pace():
    clock = Clock()
    with pytest.raises(BadConfig, match="only one step"):
        pace_of(lambda: searching("best-of-n", Slow(clock), 1), searches="best-of-n", clock=clock)


def test_the_dearest_sets_the_budget_and_the_others_get_what_it_pays_for():
    plan = equal_cost(
        [
            Bidder(name="none", pace=Pace(base=1, step=0), steps=1),
            Bidder(name="luck", pace=Pace(base=1, step=1), steps=50),
            Bidder(name="evolve", pace=Pace(base=1, step=8, pictures=8), steps=50, least=9),
            Bidder(name="reno", pace=Pace(base=1, step=3), steps=50, least=2),
        ]
    )
    assert (plan.reference, plan.budget) == ("reno", 148)
    assert {share.name: share.steps for share in plan.shares} == {"none": 1, "luck": 148, "evolve": 145, "reno": 50}
    assert {share.name: share.planned for share in plan.shares} == {"none": 1, "luck": 148, "evolve": 145, "reno": 148}


def test_whoever_says_its_steps_keeps_them_and_sets_the_budget():
    plan = equal_cost(
        [
            Bidder(name="reno", pace=Pace(base=1, step=3), steps=50, least=2),
            Bidder(name="luck", pace=Pace(base=1, step=1), steps=10, kept=True),
        ]
    )
    assert (plan.reference, plan.budget) == ("luck", 10)
    assert [share.steps for share in plan.shares] == [4, 10]


def test_a_method_stays_itself_however_small_the_budget():
    dear = Pace(base=10, step=80, pictures=8)
    plan = equal_cost(
        [
            Bidder(name="luck", pace=Pace(base=1, step=1), steps=3, kept=True),
            Bidder(name="evolve", pace=dear, steps=50, least=LEAST_STEPS["evolve"]),
        ]
    )
    assert plan.shares[1].steps == 9
    assert plan.shares[1].planned == 90  # and the plan does not hide what it costs


def test_nobody_has_no_budget():
    with pytest.raises(BadConfig, match="no system"):
        equal_cost([])


@pytest.mark.parametrize("method", ["reno", "best-of-n", "evolve"])
def test_forwards_are_counted_as_they_are_foretold(sd_folder, method):
    """Two rewards, a U-Net asked twice a picture: four forwards a look, twelve with a backward."""
    generator = load_generator(str(sd_folder), steps=2)
    metered = Metered(generator, rewards=2)
    for _ in searching(method, metered, 17):
        pass
    looks = {"reno": 16 * 3 + 1, "best-of-n": 17, "evolve": 17}[method]
    assert metered.forwards == 2 * 4 * looks
    pace = forwards_pace(2, rewards=2, searches=method)
    assert pace.cost(17) == metered.forwards / 2
    assert metered.pictures == 2 * 17


def test_a_model_as_it_is_costs_its_own_passes_alone(sd_folder):
    metered = Metered(load_generator(str(sd_folder), steps=3))
    metered.sample(torch.zeros(2, *metered.noise_shape), metered.encode(PROMPTS))
    assert metered.forwards == 6
    assert forwards_pace(3, rewards=4, searches=None).cost(1) == 3


def test_where_there_is_no_denoiser_nothing_is_counted_as_one():
    metered = Metered(Painter())
    metered.sample(torch.zeros(2, 3, 4, 4), metered.encode(PROMPTS))
    assert (metered.pictures, metered.forwards) == (2, None)


def test_a_metered_generator_draws_the_same_pictures_and_reads_its_prompts_once():
    plain, counted = Painter(), Painter()
    metered = Metered(counted, rewards=1)
    sum_of = WeightedSum({"rounded": (1.0, Rounded())})
    for one, other in zip(
        searching("best-of-n", plain, 3, sum_of), searching("best-of-n", metered, 3, sum_of), strict=True
    ):
        assert torch.equal(one.images, other.images)
    metered.encode(PROMPTS)
    assert counted.encoded == PROMPTS
