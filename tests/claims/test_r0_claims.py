import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from toys import Colour, Texture
from trained_claims import (
    Means,
    Trained,
    all_done,
    check_command,
    check_damaged,
    check_folders,
    check_last_weights,
    check_left_to_another,
    check_measured_again,
    check_page,
    check_report,
    check_unfinished,
    check_waits,
    loads_of,
    stopped_and_resumed,
)

from plaudit.claims.r0 import page as r0_page
from plaudit.claims.r0 import plan as plans
from plaudit.claims.r0 import report as r0_report
from plaudit.claims.r0 import trainings as r0_trainings
from plaudit.claims.r0.findings import Found, judged_ablation, verdict
from plaudit.claims.r0.measuring import Judges, few_steps, own_sampler
from plaudit.claims.r0.models import Bench, config_of, real_pictures, set_up, specs_of
from plaudit.claims.r0.plan import (
    PICTURES,
    SEVERAL,
    Plan,
    Times,
    base,
    cost,
    full,
    measures,
    quick,
    training,
    trainings,
    tuned,
)
from plaudit.claims.r0.report import load_bench, report_of
from plaudit.claims.r0.tables import ablation_rows, curves, fidelity_rows, reward_rows, step_rows, task_rows
from plaudit.claims.r0.trainings import Store, run
from plaudit.claims.r0.variants import ABLATIONS, VARIANTS, followed, variant_named
from plaudit.claims.r0.verdicts import claims
from plaudit.core.errors import BadConfig, UnknownName
from plaudit.generators.denoising import denoising_of
from plaudit.generators.table import load_generator
from plaudit.methods.r0 import R0Config
from plaudit.methods.rg_lcm import RgLcmConfig
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import parse
from plaudit.presets.task import Task
from plaudit.runs.checkpoints import Checkpoints
from plaudit.suites.statistics import Estimate

TINY = dataclasses.replace(
    quick(), ablations=("guidance-only", "rg-lcm"), updates=3, look_every=1, look_prompts=2, prompts=8,
    several_prompts=3,
)  # fmt: skip
TASK = Task(
    model="pocket-base",
    rewards=("hps:1", "clip:2"), held_out="pickscore", prompts=("a red circle", "a blue star", "two green squares"),
    rank=0, alpha=0.0, origin="the test",
    config=R0Config(updates=5, images_per_update=2, lr=1e-3, batch_size=2, eta=0.0),
)  # fmt: skip
REWARDS = {"hps": Colour(), "clip": Texture(), "pickscore": Colour(2)}
R0 = Trained(name="r0", plan=plans, trainings=r0_trainings, report=r0_report, page=r0_page)


class Echo:
    """An autoencoder whose latents are the pixels. Stands for a generator with one, of 64 x 64 pictures."""

    noise_shape, device = (3, 64, 64), torch.device("cpu")

    def __init__(self):
        self.vae, self.config = self, SimpleNamespace(scaling_factor=0.25)

    def encode(self, pixels):
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=pixels))

    def decode(self, latents):
        return latents / 0.25 / 2 + 0.5


def bench(folder, plan=TINY, task=TASK):
    return Bench(
        plan=plan,
        task=task,
        base_steps=3,
        base_guidance=2.0,
        sources={"model": "a toy"},
        device=torch.device("cpu"),
        load_model=lambda _, **options: load_generator(str(folder), **options),
        load_net=lambda name, **_: Means(name),
        **loads_of(REWARDS),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory, sd_folder):
    return all_done(R0, Store(tmp_path_factory.mktemp("trainings"), bench(sd_folder)))


@pytest.fixture(scope="module")
def report(store):
    return report_of(store)


# --- the plan


def test_a_full_plan_trains_every_variant_with_every_seed():
    every = [(it.name, it.seed) for it in trainings(full())]
    assert len(every) == len(set(every)) == 3 * (1 + len(VARIANTS))
    assert every[:2] == [("base", 0), ("r0-plus", 0)]


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_full_plan_trains_in_bfloat16_only_where_that_is_fast(native, precision, monkeypatch):
    monkeypatch.setattr("plaudit.claims.precision.has_fast_bfloat16", lambda _: native)
    assert full().precision == precision
    assert quick().precision == "float32"


def test_a_quick_plan_trains_three_for_a_few_updates():
    every = list(trainings(quick()))
    assert [it.name for it in every] == ["base", "r0-plus", "rewards-only", "guidance-only"]
    assert quick().updates <= 10
    # In forwards of the network on one image, of 6 to 10 ms each on a core: under four minutes on two.
    config = R0Config(images_per_update=32)
    work = sum(cost(it, quick(), config, measures(quick(), it, 25, Times())) for it in every)
    assert work * 0.010 < 240


def test_ablations_with_a_seed_that_r0_plus_has_not_are_refused():
    with pytest.raises(BadConfig, match="seed by seed"):
        Plan(seeds=(0, 1), ablation_seeds=(2,))
    with pytest.raises(BadConfig, match="ablation_images"):
        Plan(images=1, ablation_images=2)
    with pytest.raises(UnknownName, match="no variant 'no-pul'"):
        Plan(ablations=("no-pul",))


def test_work_counts_updates_looks_and_the_guided_steps_twice():
    plan = dataclasses.replace(full(), updates=10, look_every=5, look_prompts=7, prompts=20, several_prompts=2)
    config = R0Config(images_per_update=3)
    drawn = list(measures(plan, base(0), 25, Times()))
    assert cost(base(0), plan, config, drawn) == 20 * 2 * 54 + 2 * 4 * 54 + 20 * 8 + 2 * 4 * 8 + 20 * 12
    it = training("fresh-noise", 0)
    measured = 20 * 8 + 2 * 4 * 8
    assert cost(it, plan, config, measures(plan, it, 25, Times())) == measured + 3 * 7 * 8 + 10 * 3 * (2 + 3 + 2 + 16)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_can_be_set_and_differs_from_r0_plus(name, sd_folder):
    one = bench(sd_folder, dataclasses.replace(TINY, updates=None))
    it = training(name, 4)
    config = config_of(it, one)
    assert (config.seed, config.updates, config.images_per_update, config.lr) == (4, 5, 2, 1e-3)
    usual = config_of(training("r0-plus", 4), one)
    assert usual == dataclasses.replace(TASK.config, seed=4)
    assert (config, specs_of(it, one)) != (usual, TASK.rewards)


def test_a_variant_changes_only_what_it_says(sd_folder):
    one = bench(sd_folder)
    usual = dataclasses.asdict(config_of(training("r0-plus", 0), one))
    for it in VARIANTS:
        if it.method == "r0":
            own = dataclasses.asdict(config_of(training(it.name, 0), one))
            # The toy preset has no limit to the drift and no detail reward to switch off.
            differs = {name for name in own if own[name] != usual[name]}
            assert differs == set(it.changes) - {"drift_limit", "detail_weight"}


def test_distillation_gets_the_bases_guidance_and_rewards_that_pull_as_much_as_it(sd_folder):
    one = bench(sd_folder)
    config = config_of(training("rg-lcm", 0), one)
    assert isinstance(config, RgLcmConfig)
    assert (config.guidance, config.reward_scale, config.normalise) == (2.0, pytest.approx(1 / 3), "latents")
    assert config_of(training("distilled", 0), one).reward_scale == 0


def test_a_reward_alone_gets_the_weight_of_all():
    assert followed(("hps:1", "clip:2"), "all") == ("hps:1", "clip:2")
    assert followed(("hps:1", "clip:2"), "first") == ("hps:3",)
    assert followed(("hps:0.5:smooth=4", "clip"), "none") == ("hps:0:smooth=4", "clip:0")


# --- trainings


def test_every_training_has_a_folder_of_its_own_and_none_is_made_twice(store):
    check_folders(R0, store)


def test_trainings_that_were_done_before_are_found_again(tmp_path, sd_folder):
    """Their names are what results on disk lie under: another name here is hours of training lost."""
    found = Store(tmp_path, bench(sd_folder))
    names = [found.place(it).name for it in (base(0), training("r0-plus", 0), training("rg-lcm", 0))]
    assert names == ["base-s0-744ae272fa", "r0-plus-s0-f7794a68ed", "rg-lcm-s0-545efb3fa1"]
    files = [found.measure_file(base(0), one).name for one in found.wanted(base(0))[:2]]
    assert files == ["pictures-d5385b2eab.json", "several-ed1ffd2ed1.json"]


def test_what_decides_a_training_is_in_its_name_and_what_does_not_is_not(tmp_path, sd_folder):
    def place(it, **changed):
        task = dataclasses.replace(TASK, config=dataclasses.replace(TASK.config, **changed))
        return Store(tmp_path, bench(sd_folder, task=task)).place(it)

    main_one = training("r0-plus", 0)
    assert place(main_one) != place(main_one, lr=2e-3)
    assert place(base(0)) == place(base(0), lr=2e-3)
    more = Store(tmp_path, bench(sd_folder, dataclasses.replace(TINY, prompts=9)))
    assert more.place(main_one) == place(main_one)
    assert more.measure_file(main_one, more.wanted(main_one)[0]) != Store(tmp_path, bench(sd_folder)).measure_file(
        main_one, Store(tmp_path, bench(sd_folder)).wanted(main_one)[0]
    )


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(store, tmp_path, sd_folder, monkeypatch):
    monkeypatch.setattr("plaudit.claims.r0.trainings.SAVE_EVERY", 1)
    it, again = training("rg-lcm", 0), Store(tmp_path, bench(sd_folder))
    assert stopped_and_resumed(R0, again, it)[0].what.startswith("update 2/3")
    whole, resumed = store.read(it), again.read(it)
    assert resumed["curve"]["reward"] == whole["curve"]["reward"]
    assert resumed["looks"] == whole["looks"]
    assert resumed["measured"][PICTURES]["rewards"] == whole["measured"][PICTURES]["rewards"]


def test_a_measure_that_is_missing_is_made_from_the_trained_weights_without_training(store):
    it = training("r0-plus", 0)
    check_measured_again(R0, store, it, store.wanted(it)[-1])


def test_the_last_weights_of_a_training_stay_with_it(store):
    check_last_weights(store, training("rg-lcm", 0), 3)


def test_a_damaged_measure_counts_as_absent(store):
    it = training("guidance-only", 0)
    check_damaged(store, it, store.measure_file(it, store.wanted(it)[0]))


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path, sd_folder):
    check_left_to_another(R0, Store(tmp_path, bench(sd_folder)), training("guidance-only", 0))


def test_before_the_first_update_every_training_draws_what_the_untrained_model_draws(store):
    starts = [store.read(training(name, 0))["looks"]["0"] for name in ("r0-plus", "guidance-only")]
    assert starts[0] == starts[1]
    assert starts[0]["drift"] == 0
    last = store.read(training("r0-plus", 0))["looks"]["3"]
    assert last["rewards"] != starts[0]["rewards"]
    assert last["drift"] > 0


def test_the_precision_that_is_asked_for_is_the_trainings_and_not_the_drawings(sd_folder, monkeypatch):
    monkeypatch.setattr("plaudit.generators.denoising.check_fast_bfloat16", lambda _: None)
    work = set_up(training("r0-plus", 0), bench(sd_folder, dataclasses.replace(TINY, precision="bfloat16")))
    assert type(work.trainer.denoising).__name__ == "DenoisingInBfloat16"
    assert type(work.denoising).__name__ == "DiffusionDenoising"


# --- measures


def test_every_model_is_asked_for_the_same_pictures_from_the_same_noises(sd_folder, tmp_path):
    """In as many steps and without guidance, a denoiser and its own sampler draw the same."""
    one = bench(sd_folder)
    judges, wanted = Judges(one, tmp_path), next(measures(TINY, training("r0-plus", 0), 3, Times()))
    generator = load_generator(str(sd_folder), steps=wanted.steps)
    ours = judges.draw(few_steps(denoising_of(generator), wanted), wanted, 5)
    theirs = judges.draw(own_sampler(generator), wanted, 5)
    assert ours.images.shape == (16, 3, 16, 16)
    assert torch.allclose(ours.images, theirs.images, atol=1e-4)
    assert not torch.allclose(ours.images, judges.draw(own_sampler(generator), wanted, 6).images, atol=1e-2)


def test_distillation_learns_from_scenes_that_its_prompts_describe(sd_folder):
    data = real_pictures(load_generator(str(sd_folder)), ("a red circle", "a blue star on a black background"))
    assert data.prompts == ("a red circle",) * 2 + ("a blue star on a black background",) * 2
    assert data.latents.shape == (4, 4, 8, 8)
    assert not torch.equal(data.latents[0], data.latents[1])
    with pytest.raises(BadConfig, match="is about no scene"):
        real_pictures(load_generator(str(sd_folder)), ("a nice day",))


def test_what_distillation_learns_from_is_what_its_prompts_ask_for():
    one, prompts = Echo(), ("a red circle", "two green squares", "a blue star left of a pink ring")
    data = real_pictures(one, prompts)
    assert all(it.right for it in judge(one.decode(data.latents), [parse(prompt) for prompt in data.prompts]))


def test_first_pictures_and_all_are_likened_to_real_ones_apart(store):
    likeness = store.read(base(0))["measured"][PICTURES]["fidelity"]
    assert (likeness["first"]["images"], likeness["all"]["images"]) == (8, 16)
    assert likeness["first"]["fid"] != likeness["all"]["fid"]
    one = store.read(training("rg-lcm", 0))["measured"][PICTURES]["fidelity"]
    assert one["first"] == one["all"]
    assert store.real()["all"]["images"] == 16


def test_of_weights_that_are_averaged_the_average_is_looked_at_and_drawn(sd_folder, tmp_path):
    config = dataclasses.replace(TASK.config, ema=0.9, lr=3e-2)
    one = Store(tmp_path, bench(sd_folder, task=dataclasses.replace(TASK, config=config)))
    it = training("r0-plus", 0)
    list(run(it, one))
    work = set_up(it, one.bench)
    work.trainer.load(Checkpoints(one.place(it)).newest().tensors)
    wanted = one.wanted(it)[0]
    last = one.judges.scores(*scored_by(one, work, wanted))["rewards"]["hps"]
    with work.trainer.learner.averaged():
        average = one.judges.scores(*scored_by(one, work, wanted))["rewards"]["hps"]
    assert one.read(it)["measured"][PICTURES]["rewards"]["hps"] == pytest.approx(average)
    assert average != pytest.approx(last)
    assert one.read(it)["looks"]["3"]["drift"] < work.anchor.drift()


def scored_by(one, work, wanted):
    drawn = one.judges.draw(few_steps(work.denoising, wanted), wanted, 0)
    return drawn.images, [place for place in drawn.places for _ in range(wanted.images)]


# --- findings, by hand


def scored(rewards, right, *, fid=1.0, recall=0.5, distance=(0.1, 0.2), images=1):
    """A measure of two prompts."""
    count = 2 * images
    likeness = {"fid": fid, "kid": 0.0, "precision": 0.5, "recall": recall, "vendi": 2.0}
    return {
        "measure": {"images": images}, "places": [0, 1], "shown": [0, 1], "seconds": 0.1,
        "rewards": {name: [value] * count if isinstance(value, float) else value for name, value in rewards.items()},
        "right": right, "fidelity": {"first": likeness, "all": likeness}, "distance": list(distance),
    }  # fmt: skip


def result(pictures, *, follows=("hps",), looks=None, **others):
    one = {name: pictures for name in (PICTURES, SEVERAL, "few", "few-several", "guided-few", "steps-2")}
    look = {"rewards": pictures["rewards"], "right": pictures["right"], "drift": 0.25}
    return {
        "measured": {**one, **others}, "follows": list(follows), "looks": looks or {"0": look, "2": look},
        "curve": {"seconds": [1.0, 3.0]}, "timing": {"guided": [8.0, 9.0], "few": [1.0, 1.0]},
    }  # fmt: skip


def found(**results):
    """Two prompts of two tasks; hps is trained on, pickscore is not."""
    names = {"base": "base", "main": "r0-plus", "bare": "one-bare", "r0": "r0", "rewards": "rewards-only"}
    names |= {"guidance": "guidance-only", "long": "r0-plus-long"}
    by_name = {(names[name], seed): one for name, each in results.items() for seed, one in enumerate(each)}
    seeds = tuple(range(len(results["base"])))
    ablations = tuple(name for key, name in names.items() if key in results and key not in ("base", "main", "long"))
    longer = 600 if "long" in results else None
    plan = Plan(seeds=seeds, ablation_seeds=seeds[:1], ablations=ablations, other_steps=(2,), long_updates=longer)
    likeness = {"fid": 0.1, "kid": 0.0, "precision": 0.9, "recall": 0.9, "vendi": 9.0}
    real = {"first": likeness, "all": likeness, "distance": [0.5, 0.7]}
    return Found(
        plan=plan, results=by_name, trained=["hps"], held_out="pickscore", tasks=["counting", "colors"], real=real
    )


def pictures(hps, pick, right, **others):
    return scored({"hps": hps, "pickscore": pick}, right, **others)


def usual(**others):
    """Two seeds: the base's hps is (1, 3) and (1, 3), R0+'s one and two higher."""
    bases = [result(pictures([1.0, 3.0], 5.0, [False, True], fid=2.0, recall=0.5)) for _ in range(2)]
    mains = [
        result(pictures([2.0, 4.0], 4.0, [True, True], fid=2.2, recall=0.4, distance=(0.2, 0.4))),
        result(pictures([3.0, 5.0], 4.0, [False, True], fid=2.8, recall=0.2, distance=(0.2, 0.4))),
    ]
    return found(base=bases, main=mains, **others)


def test_the_longer_r0_plus_is_set_beside_the_base_and_the_shorter_beside_ablations():
    long = [result(pictures([5.0, 7.0], 6.0, [True, True], fid=1.8, recall=0.6, distance=(0.2, 0.4))) for _ in range(2)]
    bare = [result(pictures([9.0, 9.0], 1.0, [False, False]))]
    short, both = ({it.id: it for it in claims(usual(bare=bare, **more), 25)} for more in ({}, {"long": long}))
    assert short["reward-hps"].measured == pytest.approx(1.5)
    assert both["reward-hps"].measured == pytest.approx(4.0)
    assert (short["fid"].measured, both["fid"].measured) == (pytest.approx(1.25), pytest.approx(0.9))
    assert both["accuracy"].measured > short["accuracy"].measured
    assert both["against-one-bare"] == short["against-one-bare"]
    assert "longer" not in short
    # The first picture of one prompt of one seed is wrong in the shorter, and right in the longer: a half of a task.
    assert both["longer"].measured == pytest.approx(0.25)
    rows = {row["name"]: row for row in ablation_rows(usual(bare=bare, long=long))}
    assert list(rows) == ["base", "r0-plus", "r0-plus-long", "one-bare"]
    assert rows["r0-plus-long"]["verdict"] in ("improved", "unchanged")


def test_a_longer_training_differs_in_its_updates_alone(sd_folder):
    plan = dataclasses.replace(TINY, long_updates=7)
    one = bench(sd_folder, plan)
    short, long = (config_of(it, one) for it in (training("r0-plus", 0), tuned(plan, 0)))
    assert dataclasses.replace(long, updates=short.updates) == short
    assert long.updates == 7
    assert [it.name for it in trainings(plan)][:3] == ["base", "r0-plus", "r0-plus-long"]
    kept = {it.name: [m.name for m in measures(plan, it, 25, Times())] for it in trainings(plan)}
    assert "steps-2" in kept["r0-plus-long"]
    assert kept["r0-plus"] == [PICTURES, SEVERAL]
    with pytest.raises(BadConfig, match="long_updates must be at least 1, got 0"):
        Plan(long_updates=0)


def test_the_claims_follow_the_results():
    said = {claim.id: claim for claim in claims(usual(), 25)}
    # By hand: hps rises by (1 + 2) / 2 for both prompts.
    assert said["reward-hps"].measured == pytest.approx(1.5)
    assert said["reward-hps"].met is True
    assert said["held-out-pickscore"].measured == pytest.approx(-1.0)
    assert said["held-out-pickscore"].met is False
    # The first prompt is right once more in two seeds, the second as often; tasks count alike.
    assert said["accuracy"].measured == pytest.approx((0.5 + 0.0) / 2)
    assert said["accuracy"].met is True
    # 2.2 / 2 and 2.8 / 2.
    assert said["fid"].measured == pytest.approx(1.25)
    assert said["fid"].met is True
    assert "the interval includes the bar" in said["fid"].note
    assert said["recall"].measured == pytest.approx(-0.2)
    assert said["diversity"].measured == pytest.approx(0.15)
    assert said["speed"].measured == pytest.approx(8.5)
    assert said["speed"].met is None
    assert "12.5" in said["speed"].note


def test_a_fid_above_the_bar_misses_it():
    worse = [result(pictures([2.0, 4.0], 4.0, [True, True], fid=fid)) for fid in (2.5, 2.72)]
    bases = [result(pictures([1.0, 3.0], 5.0, [False, True], fid=2.0)) for _ in range(2)]
    (claim,) = [claim for claim in claims(found(base=bases, main=worse), 25) if claim.id == "fid"]
    assert claim.measured == pytest.approx(1.305)
    assert claim.met is False


def test_rewards_are_compared_in_spreads_of_the_bases_scores():
    """The base's hps is 1 or 5, so its spread is 2; of seeds that both have."""
    bases = [result(pictures([1.0, 5.0], 5.0, [False, True])) for _ in range(2)]
    mains = [result(pictures([value, value], 4.0, [True, True])) for value in (2.0, 9.0)]
    one = found(base=bases, main=mains, bare=[result(pictures([8.0, 8.0], 1.0, [False, False]))])
    trained, judged, said = judged_ablation(one, "one-bare")
    assert trained.value == pytest.approx((8 - 2) / 2)
    assert judged.value == pytest.approx(-1.0)
    assert said == "hacked"
    again = {claim.id: claim for claim in claims(one, 25)}["against-one-bare"]
    assert (again.measured, again.met) == (pytest.approx(1.0), True)
    assert "hacked" in again.note
    assert "+3.00" in again.note


def test_r0_plus_is_set_against_r0_by_its_rewards():
    said = {claim.id: claim for claim in claims(usual(r0=[result(pictures([1.5, 3.5], 4.0, [True, True]))]), 25)}
    assert said["r0-plus-rewards"].measured == pytest.approx(0.5)
    assert said["r0-plus-rewards"].met is True
    assert said["against-r0"].met is None


def test_rewards_alone_and_guidance_alone_are_set_against_the_base():
    one = usual(
        rewards=[result(pictures([1.0, 3.0], 5.0, [False, False]))],
        guidance=[result(pictures([1.0, 3.0], 5.0, [True, True]), follows=())],
    )
    said = {claim.id: claim for claim in claims(one, 25)}
    assert (said["rewards-enough"].measured, said["rewards-enough"].met) == (pytest.approx(-0.5), False)
    assert said["guidance-adds"].measured == pytest.approx(1.0)
    assert (said["guidance-alone"].measured, said["guidance-alone"].met) == (pytest.approx(0.5), None)
    # One that followed no reward is compared by those of R0+.
    assert one.follows("guidance-only") == ["hps"]


def at(low, high):
    return Estimate(value=(low + high) / 2, low=low, high=high, prompts=9)


@pytest.mark.parametrize(
    ("trained", "judged", "wanted"),
    [
        (at(0.1, 0.2), at(-0.3, -0.1), "hacked"),
        (at(0.0, 0.2), at(-0.3, -0.1), "worse"),  # the rewards' interval touches zero
        (at(-0.2, -0.1), at(-0.3, -0.1), "worse"),
        (at(0.1, 0.2), at(-0.3, 0.0), "unchanged"),  # accuracy's touches zero from below
        (at(0.1, 0.2), at(0.0, 0.3), "unchanged"),  # and from above
        (at(-0.2, -0.1), at(0.1, 0.3), "improved"),
    ],
)
def test_a_verdict_asks_the_judge_first(trained, judged, wanted):
    assert verdict(trained, judged) == wanted


def test_an_ablation_is_compared_by_first_pictures_of_its_own_seeds():
    """R0+ has two pictures of each prompt; of the first of them one is right, of the second none."""
    bases = [result(pictures([1.0, 1.0, 3.0, 3.0], 5.0, [False] * 4, images=2)) for _ in range(2)]
    mains = [result(pictures([2.0, 9.0, 4.0, 9.0], 4.0, [True, False, False, False], images=2)) for _ in range(2)]
    one = found(base=bases, main=mains, bare=[result(pictures([3.0, 5.0], 4.0, [False, False]))])
    trained, judged, _ = judged_ablation(one, "one-bare")
    assert trained.value == pytest.approx(1.0)
    assert judged.value == pytest.approx(-0.5)
    row = next(row for row in ablation_rows(one) if row["name"] == "r0-plus")
    assert row["accuracy"]["value"] == pytest.approx(0.5)
    assert row["rewards"]["hps"]["value"] == pytest.approx(3.0)
    assert task_rows(one)[0]["tuned"]["value"] == pytest.approx(0.25)


def test_tables_say_what_was_measured():
    one = usual(bare=[result(pictures([5.0, 7.0], 1.0, [False, False]))])
    (hps, pick) = reward_rows(one)
    assert (hps["base"]["value"], hps["tuned"]["value"], hps["trained"]) == (2.0, pytest.approx(3.5), True)
    assert (pick["rise"]["value"], pick["trained"]) == (pytest.approx(-1.0), False)
    everything, counting, colours = task_rows(one)
    assert everything["rise"]["value"] == pytest.approx(0.25)
    assert (counting["task"], counting["tuned"]["value"]) == ("counting", pytest.approx(0.5))
    assert (colours["task"], colours["rise"]["value"]) == ("colors", 0.0)
    base_row, main_row, *rest = fidelity_rows(one)
    assert (base_row["fid"]["value"], main_row["fid"]["value"]) == (pytest.approx(2.0), pytest.approx(2.5))
    assert main_row["distance"]["value"] == pytest.approx(0.3)
    assert rest[-1]["fid"]["value"] == 0.1
    assert rest[-2]["distance"]["value"] == pytest.approx(0.6)
    assert rest[2]["distance"]["value"] == pytest.approx(0.15)
    assert [row["pictures"] for row in step_rows(one)][-2:] == ["R0+ in 2", "R0+ in 4"]
    bare = ablation_rows(one)[-1]
    assert (bare["drift"], bare["seconds_per_update"], bare["verdict"]) == (0.25, 2.0, "hacked")


def test_a_curve_has_the_seconds_until_each_look_and_the_seeds_extremes():
    one = usual()
    (curve,) = curves(one)
    assert curve["updates"] == [0, 2]
    assert curve["seconds"]["mean"] == [0.0, 4.0]
    assert curve["hps"]["mean"] == [3.5, 3.5]
    assert (curve["hps"]["low"], curve["hps"]["high"]) == ([3.0, 3.0], [4.0, 4.0])


# --- the report


def test_the_report_is_json_and_every_claim_says_what_a_claim_must(report):
    wanted = {"reward-hps", "reward-clip", "held-out-pickscore", "accuracy", "fid", "recall", "diversity", "speed"}
    check_report(report, wanted | {"steps-2", "guidance-alone", "against-guidance-only", "against-rg-lcm"})
    assert report["settings"]["updates"] == 3


def test_the_page_and_its_pictures_come_from_the_report_alone(report, store, tmp_path):
    endings = ("curves.svg", "ablations.svg", "courses.svg", "variants.png", "steps.png")
    words = check_page(R0, report, store.folder, tmp_path / "r0.json", endings)
    rows = [line for line in words.splitlines() if line.startswith("| rg-lcm |")]
    assert len(rows) == 2
    assert any(said in rows[0] for said in ("improved", "hacked", "worse", "unchanged"))


def test_a_report_of_unfinished_trainings_is_refused(tmp_path, sd_folder):
    check_unfinished(R0, Store(tmp_path, bench(sd_folder)))


def test_the_real_bench_takes_the_presets_rewards_and_the_tables_base():
    one = load_bench(quick(), torch.device("cpu"))
    assert one.judged_by == [*one.trained, one.task.held_out]
    assert one.net not in {source["name"] for source in one.sources["rewards"]} | set(one.trained)
    assert one.base_steps > plans.STEPS
    assert one.base_guidance > 1
    assert all(source["weights"] for source in (one.sources["model"], one.sources["held_out"], one.sources["net"]))


def test_the_presets_prompts_are_none_of_the_suites(tmp_path):
    one = load_bench(quick(), torch.device("cpu"))
    assert not set(one.task.prompts) & set(Judges(one, tmp_path).suite.texts())


# --- the command


def test_the_command_measures_says_what_is_met_and_makes_the_page_again(tmp_path, sd_folder, monkeypatch, capsys):
    small = dataclasses.replace(TINY, ablations=("guidance-only",), updates=1)
    R0.stand_in(monkeypatch, small, partial(bench, sd_folder))
    said = check_command(R0, tmp_path, capsys)
    assert "reward-hps" in said.out
    assert "plan: 2 trainings, 1 seed(s)" in said.err


def test_a_second_process_says_what_it_waits_for(tmp_path, sd_folder, monkeypatch, capsys):
    R0.stand_in(monkeypatch, dataclasses.replace(TINY, ablations=(), updates=1), partial(bench, sd_folder))
    check_waits(R0, tmp_path, capsys, training("r0-plus", 0))


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(UnknownName, match="Known: r0-plus"):
        variant_named("ro-plus")


def test_r0_plus_is_drawn_at_the_times_it_was_trained_at_and_distillation_in_equal_strides(sd_folder, tmp_path):
    config = dataclasses.replace(TASK.config, shift=2.0, start=0.9)
    found = Store(tmp_path, bench(sd_folder, task=dataclasses.replace(TASK, config=config)))
    times = {name: {one.times for one in found.wanted(training(name, 0))} for name in ("r0-plus", "rg-lcm")}
    assert times == {"r0-plus": {Times(shift=2.0, start=0.9)}, "rg-lcm": {Times()}}
    samplers = {name: found.wanted(training(name, 0))[0].sampler for name in ("r0-plus", "rg-lcm")}
    assert samplers == {"r0-plus": "few", "rg-lcm": "fresh"}
    by_name = {one.name: one.times for one in found.wanted(base(0))}
    assert (by_name["few"], by_name["pictures"]) == (Times(shift=2.0, start=0.9), Times())


def test_a_denoiser_draws_at_the_measures_times(sd_folder, tmp_path):
    judges, wanted = Judges(bench(sd_folder), tmp_path), next(measures(TINY, training("fresh-noise", 0), 3, Times()))
    denoising = denoising_of(load_generator(str(sd_folder)))
    even, crowded = (
        judges.draw(few_steps(denoising, dataclasses.replace(wanted, times=times)), wanted, 0).images
        for times in (Times(), Times(shift=3.0))
    )
    assert not torch.equal(even, crowded)
    fresh = judges.draw(few_steps(denoising, dataclasses.replace(wanted, sampler="fresh")), wanted, 0).images
    assert not torch.equal(even, fresh)
