import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch
from tiny_reasongen import PLAN, REWARDS, TASKS, bench, save_model, with_config
from trained_claims import (
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
    stopped_and_resumed,
)

from plaudit.claims.fingerprint import decisive
from plaudit.claims.held_folder import held
from plaudit.claims.kept_trainings import RESULT
from plaudit.claims.picture_grid import pictures_in
from plaudit.claims.pocket_models import understood
from plaudit.claims.reasongen import page as reasongen_page
from plaudit.claims.reasongen import plan as plans
from plaudit.claims.reasongen import report as reasongen_report
from plaudit.claims.reasongen import trainings as reasongen_trainings
from plaudit.claims.reasongen.measuring import COLUMNS, Drawn, Panel, first_pictures, in_words, timed
from plaudit.claims.reasongen.models import Bench, config_of, content_of, load_model, rewards_of, set_up
from plaudit.claims.reasongen.plan import (
    Asking,
    Measure,
    Plan,
    base,
    cost,
    drawn_how,
    full,
    look,
    measures,
    quick,
    training,
    trainings,
)
from plaudit.claims.reasongen.report import cost_of, load_bench, measure, report_of
from plaudit.claims.reasongen.trainings import Store, run
from plaudit.claims.reasongen.variants import ABLATIONS, BASE, DIRECT, MAIN, SFT, VARIANTS, variant_named
from plaudit.core.errors import BadConfig, UnknownName
from plaudit.methods.plan_sft import PlanSftConfig
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.pocket.judge import read
from plaudit.pocket.plans import plan_of, say_plan
from plaudit.pocket.render import render
from plaudit.pocket.scenes import UNCLEAR, Scene, Thing
from plaudit.presets.reasongen import pocket_plans, pocket_reasongen, pocket_reasongen_direct
from plaudit.runs.files import write_json
from plaudit.runs.provenance import png_bytes
from plaudit.shells.cli import main

TINY = dataclasses.replace(PLAN, ablations=(), prompts=6, look_prompts=6)
REASONGEN = Trained(
    name="reasongen", plan=plans, trainings=reasongen_trainings, report=reasongen_report, page=reasongen_page
)
REAL = {"lessons": pocket_plans(), "rewards": pocket_reasongen(), "rewards-direct": pocket_reasongen_direct()}


def real_bench(plan):
    """Of the real presets; nothing is loaded."""
    return Bench(plan=plan, tasks=REAL, sources={}, device=torch.device("cpu"), guidance=2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_model(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, folder):
    return all_done(REASONGEN, Store(tmp_path_factory.mktemp("trainings"), bench(folder)))


@pytest.fixture(scope="module")
def report(store):
    return report_of(store)


# --- the plan


def test_a_full_plan_makes_what_others_start_from_first_and_every_variant_with_every_seed():
    every = [(it.name, it.seed) for it in trainings(full())]
    assert len(every) == len(set(every)) == 3 * len(VARIANTS)
    assert every[:7] == [(BASE, 0), (BASE, 1), (BASE, 2), (SFT, 0), (SFT, 1), (SFT, 2), (MAIN, 0)]
    seen = set()
    for it in trainings(full()):
        assert it.start is None or it.start in seen
        seen.add(it)


def test_a_full_plan_fits_six_hours_of_two_cores_and_a_quick_one_five_minutes_of_one():
    def seconds(plan):
        return sum(cost_of(it, real_bench(plan)) for it in trainings(plan))

    assert 3600 < seconds(full()) / 2 < 6 * 3600
    # Loading and plotting take some seconds more.
    assert seconds(quick()) < 240


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_full_plan_trains_in_bfloat16_only_where_that_is_fast(native, precision, monkeypatch):
    monkeypatch.setattr("plaudit.claims.precision.has_fast_bfloat16", lambda _: native)
    assert full().precision == precision
    assert quick().precision == "float32"


@pytest.mark.parametrize("name", [SFT, MAIN])
def test_the_precision_that_is_asked_for_is_the_trainings_and_not_the_drawings(name, folder, monkeypatch, tmp_path):
    monkeypatch.setattr("plaudit.generators.plan_training.check_fast_bfloat16", lambda _: None)
    one = bench(folder, dataclasses.replace(PLAN, precision="bfloat16"))
    trainer, policy = set_up(training(name, 0), one, None)
    assert type(trainer.policy).__name__ == "PlansInBfloat16"
    assert trainer.policy.policy is policy
    assert Store(tmp_path, one).place(training(name, 0)) != Store(tmp_path, bench(folder)).place(training(name, 0))


def test_work_counts_updates_looks_measures_and_questions():
    """In milliseconds: drawing with a plan or without, decoding, three rewards, the judge."""
    plan = dataclasses.replace(full(), look_every=4, look_prompts=3, look_images=2, questions=10, prompts=5)
    seen = 14.0 + 8.0 + 3 * 2.6 + 5.0
    guided, direct = seen + 26.0 - 14.0, seen + 9.0 - 14.0
    drawn = list(measures(plan, base(0), 2.0))
    whole = 5 * 2 * (seen + guided + direct + direct + 19.0 - 9.0) + 10 * 6.0
    assert cost(base(0), plan, None, drawn, lessons=9) == pytest.approx(whole / 1000)
    # Ten updates have looks before the first, after the fourth, the eighth and the tenth.
    looks = 4 * 3 * 2
    config = ReasonGenConfig(updates=10, prompts_per_update=2, images_per_prompt=3, rounds=4, steps_per_pass=1)
    update = 6 * (14.0 + 8.0 + 2.6 + 13.0)
    told = cost(training("no-control", 0), plan, config, [], lessons=9)
    assert told == pytest.approx((looks * seen + 10 * update + 60) / 1000)
    # Right or wrong are often equal in a group, so that all rounds are drawn.
    hard = cost(training("hard-judge", 0), plan, config, [], lessons=9)
    assert hard - told == pytest.approx(10 * 6 * 3 * (14.0 + 8.0 + 2.6) / 1000)
    # Shares hardly ever are; and a divergence asks the start, too, once a pass.
    assert cost(training("fractions", 0), plan, config, [], lessons=9) == told
    near = cost(training("no-control", 0), plan, dataclasses.replace(config, kl_weight=0.1), [], lessons=9)
    assert near - told == pytest.approx(10 * 6 * 13.0 / 3 / 1000)
    direct_config = dataclasses.replace(config, plan=False)
    without = cost(training(DIRECT, 0), plan, direct_config, [], lessons=9)
    assert without == pytest.approx((looks * direct + 10 * 6 * (9.0 + 8.0 + 2.6 + 10.0) + 60) / 1000)
    taught = cost(training(SFT, 0), plan, PlanSftConfig(updates=10, lessons_per_update=8), [], lessons=9)
    assert taught == pytest.approx((looks * seen + 10 * 8 * 13.0 + 9 * 6.0 + 60) / 1000)


def test_plans_that_could_not_be_compared_are_refused():
    with pytest.raises(BadConfig, match="seed by seed"):
        Plan(seeds=(0, 1), ablation_seeds=(2,))
    with pytest.raises(BadConfig, match="look_images must be between 2 and images, 2; got 3"):
        Plan(look_images=3)
    with pytest.raises(BadConfig, match="ablation_images must be between 1 and images, 2; got 0"):
        Plan(ablation_images=0)
    with pytest.raises(UnknownName, match="no variant 'no-sfd'"):
        Plan(ablations=("no-sfd",))
    with pytest.raises(BadConfig, match="'sft' is no ablation"):
        Plan(ablations=("sft",))


def test_models_that_are_compared_are_drawn_with_guidance_too_and_as_often_as_the_plan_says():
    def drawn(name):
        return [(it.name, it.images) for it in measures(full(), training(name, 0), 2.5)]

    assert drawn(BASE) == [("planned-1", 2), ("planned-2.5", 2), ("direct-1", 2), ("direct-2.5", 2)]
    assert drawn(MAIN) == drawn(SFT) == [("planned-1", 2), ("planned-2.5", 2), ("planned-1-at-0.8", 2)]
    assert drawn(DIRECT) == [("direct-1", 2), ("direct-2.5", 2)]
    assert drawn("hard-judge") == [("planned-1", 1)]
    assert drawn("direct-lessons") == [("direct-1", 1)]
    assert len(list(measures(full(), training(MAIN, 0), 1.0))) == 2


# --- variants


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_its_preset_in_its_row_alone(name, folder):
    one, it = bench(folder, dataclasses.replace(PLAN, updates=None, lesson_updates=None)), variant_named(name)
    own = config_of(training(name, 4), one)
    assert dataclasses.asdict(own) == dataclasses.asdict(
        dataclasses.replace(TASKS[it.way].config, seed=4, **it.changes)
    )
    usual = SFT if it.way == "lessons" else MAIN
    contents = [content_of(training(which, 4), one) for which in (name, usual)]
    differs = {key for key in contents[0] if contents[0][key] != contents[1][key]}
    other_start = it.start != variant_named(usual).start
    assert differs or other_start
    assert ("rewards" in differs) == (it.rewards is not None)
    assert ("without_plans" in differs) == it.without_plans


def test_how_many_are_drawn_at_once_decides_nothing():
    config = next(iter(TASKS.values())).config
    assert decisive(dataclasses.replace(config, draw_batch_size=7)) == decisive(config)
    assert decisive(dataclasses.replace(config, batch_size=7)) != decisive(config)


@pytest.mark.parametrize("name", [variant.name for variant in VARIANTS])
def test_every_variant_of_the_real_presets_can_be_set(name):
    config, it = config_of(training(name, 3), real_bench(full())), variant_named(name)
    if it.way == "none":
        assert config is None
        return
    assert config.seed == 3
    if it.way == "lessons":
        assert config.updates == pocket_plans().config.updates
        return
    assert (config.updates, config.plan) == (pocket_reasongen().config.updates, it.plan)
    main_config = config_of(training(MAIN, 3), real_bench(full()))
    targets = ("word_entropy", "token_entropy")
    assert [getattr(config, one) for one in targets] == [getattr(main_config, one) for one in targets]
    control = "none" if name == "no-control" else main_config.entropy_control
    assert config.entropy_control == control
    other = {"hard-judge": ("pocket-vqa-hard:1",), "fractions": ("pocket-vqa:1",)}
    assert rewards_of(it, real_bench(full())) == other.get(name, pocket_reasongen().rewards)


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(UnknownName, match="Known: base, sft, reasongen"):
        variant_named("reasongem")


def test_presets_of_several_models_or_of_a_lora_are_refused(folder):
    other = dataclasses.replace(TASKS["lessons"], model="janus-pro-1b")
    with pytest.raises(BadConfig, match="one model, and the presets name janus-pro-1b, pocket-janus"):
        bench(folder, tasks={**TASKS, "lessons": other})
    with pytest.raises(BadConfig, match="a LoRA of 4"):
        bench(folder, tasks={**TASKS, "rewards": dataclasses.replace(TASKS["rewards"], rank=4)})


def test_pictures_are_scored_by_rewards_that_nothing_is_trained_on(folder):
    assert bench(folder).judged_by == ["pocket-vqa-product", "imagereward", "pickscore"]
    assert real_bench(full()).judged_by == ["pocket-vqa-product", "imagereward", "pickscore"]
    followed = {spec.split(":")[0] for it in VARIANTS for spec in it.rewards or ()} | {"pocket-vqa-product"}
    assert not followed & set(real_bench(full()).judged_by[1:])


def test_rewards_start_from_what_the_lessons_left_and_train_the_whole_transformer(store):
    weights = store.weights(training(SFT, 0))
    trainer, policy = set_up(training(MAIN, 0), store.bench, weights)
    assert all(weight.requires_grad for weight in policy.transformer.parameters())
    assert not any(weight.requires_grad for weight in policy.image_tokenizer.parameters())
    own = policy.transformer.state_dict()
    assert all(torch.equal(own[name], weight) for name, weight in weights.items())
    before = load_model(store.bench).transformer.state_dict()
    assert any(not torch.equal(own[name], before[name]) for name in own)
    next(trainer.updates())
    assert any(not torch.equal(weight, weights[name]) for name, weight in policy.transformer.state_dict().items())


def test_lessons_without_plans_are_the_same_pictures_right_after_the_same_prompts(folder):
    one = bench(folder, dataclasses.replace(PLAN, ablations=("direct-lessons",)))
    (with_plans, _), (without, _) = (set_up(training(name, 0), one, None) for name in (SFT, "direct-lessons"))
    assert with_plans.lessons.prompts == without.lessons.prompts
    assert torch.equal(with_plans.lessons.tokens, without.lessons.tokens)
    assert all(with_plans.lessons.plans)
    assert not any(without.lessons.plans)
    assert len(without.lessons) == PLAN.lessons
    other, _ = set_up(training(SFT, 1), one, None)
    assert other.lessons.prompts != with_plans.lessons.prompts


# --- trainings


def test_every_training_has_a_folder_of_its_own_and_none_is_made_twice(store):
    check_folders(REASONGEN, store)


def test_trainings_that_were_done_before_are_found_again(tmp_path, folder):
    """Their names are what results on disk lie under: another name here is hours of training lost."""
    found = Store(tmp_path, bench(folder))
    names = [found.place(it).name for it in (base(0), training(SFT, 0), training(MAIN, 0), training("hard-judge", 0))]
    assert names == ["base-s0-a2f1cb6987", "sft-s0-db4bf3e092", "reasongen-s0-e36c0cbb74", "hard-judge-s0-c0efef7c76"]
    files = [found.measure_file(base(0), one).name for one in (found.wanted(base(0))[0], found.wanted(base(0))[-1])]
    assert files == ["planned-1-e90ffd78fe.json", "understanding-45aacfc0b2.json"]


def test_what_decides_a_training_is_in_its_name_and_what_does_not_is_not(tmp_path, folder):
    def place(it, plan=PLAN, way="rewards", **changed):
        return Store(tmp_path, bench(folder, plan, with_config(way, **changed))).place(it)

    it = training(MAIN, 0)
    assert place(it) != place(it, lr=1e-3)
    assert place(base(0)) == place(base(0), lr=1e-3)
    # Whoever starts from other lessons is another training; who starts from none is not.
    assert place(it) != place(it, way="lessons", lr=1e-3)
    assert place(it) != place(it, dataclasses.replace(PLAN, lessons=13))
    direct = training(DIRECT, 0)
    assert place(direct) == place(direct, way="lessons", lr=1e-3)
    assert place(it) != place(it, dataclasses.replace(PLAN, look_prompts=7))
    assert place(training("hard-judge", 0)) != place(it)
    more = dataclasses.replace(PLAN, images=3, prompts=20)
    assert place(it, more) == place(it)
    wanted = Measure(name="planned-1", guidance=1.0, plan=True, images=2, prompts=12)
    files = [Store(tmp_path, bench(folder, plan)).measure_file(it, wanted) for plan in (PLAN, more)]
    assert files[0] == files[1]
    one = Store(tmp_path, bench(folder))
    others = [dataclasses.replace(wanted, **it) for it in ({"images": 3}, {"prompts": 20})]
    assert len({files[0], *(one.measure_file(it, other) for other in others)}) == 3


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(store, tmp_path, folder, monkeypatch):
    monkeypatch.setattr("plaudit.claims.reasongen.trainings.SAVE_EVERY", 1)
    again = Store(tmp_path, bench(folder))
    for it, said in ((training(SFT, 0), "loss of words"), (training(MAIN, 0), "reward")):
        first = stopped_and_resumed(REASONGEN, again, it)[0].what
        assert first.startswith(f"update 2/3, {said}")
        whole, resumed = store.read(it), again.read(it)
        assert resumed["config"] == whole["config"]
        for name in ("reward", "word_entropy", "token_entropy", "word_coefficient", "plan_words", "token_loss"):
            assert resumed["curve"][name] == whole["curve"][name]
        assert without_times(resumed["looks"]) == without_times(whole["looks"])
        assert without_times(resumed["measured"]) == without_times(whole["measured"])


def without_times(results):
    return {name: {key: value for key, value in one.items() if key != "seconds"} for name, one in results.items()}


def test_a_measure_that_is_missing_is_made_from_the_trained_weights_without_training(store):
    it = training(MAIN, 0)
    for wanted in (store.wanted(it)[0], store.wanted(it)[-1]):
        check_measured_again(REASONGEN, store, it, wanted)


def test_a_result_that_is_damaged_counts_as_absent_and_is_made_again(store):
    it = training(DIRECT, 0)
    check_damaged(store, it, store.place(it) / RESULT)
    before = store.read(it)
    (store.place(it) / RESULT).write_text("{")
    assert list(run(it, store)) == []
    assert store.read(it) == before


def test_the_last_weights_of_a_training_stay_with_it(store):
    check_last_weights(store, training("no-control", 0), 3)
    kept = store.weights(training(SFT, 0))
    policy = load_model(store.bench, kept)
    assert all(torch.equal(weight, kept[name]) for name, weight in policy.transformer.state_dict().items())
    assert store.weights(base(0)) is None


def test_lessons_leave_their_average(store):
    """Half of every step is in it, so it is not the last checkpoint's weights."""
    from plaudit.runs.checkpoints import Checkpoints

    it = training(SFT, 0)
    state = Checkpoints(store.place(it)).newest().tensors
    kept = list(store.weights(it).values())
    names = [name for name, _ in load_model(store.bench).transformer.named_parameters()]
    place = names.index("lm_head.weight")
    found = store.weights(it)["lm_head.weight"]
    assert torch.equal(found, state[f"average.{place}"])
    assert not torch.equal(found, state[f"weight.{place}"])
    assert len(kept) >= len(names)


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path, folder):
    check_left_to_another(REASONGEN, Store(tmp_path, bench(folder)), training(DIRECT, 0))


def test_who_starts_from_another_training_is_not_trained_before_it(tmp_path, folder):
    with pytest.raises(BadConfig, match=r"sft \(seed 0\) is not trained yet"):
        list(run(training(MAIN, 0), Store(tmp_path, bench(folder))))


def test_who_starts_from_lessons_waits_for_the_process_that_is_at_them(tmp_path, folder, monkeypatch):
    own = Store(tmp_path, bench(folder, TINY))
    holder = held(own.place(training(SFT, 0)))
    assert holder.__enter__()
    monkeypatch.setattr("plaudit.claims.reasongen.report.time.sleep", lambda _: holder.__exit__(None, None, None))
    said = [(progress.training.name, progress.what.split(",")[0]) for progress, _ in measure(own)]
    waits = said.index((MAIN, "waits: another process is at sft"))
    assert {name for name, _ in said[:waits]} == {BASE}
    assert said[waits + 1] == (SFT, "update 1/3")
    assert own.unfinished() == []


def test_lessons_whose_measures_are_missing_are_enough_to_start_from(store):
    it = training(SFT, 0)
    file = store.measure_file(it, store.wanted(it)[0])
    kept = file.read_text()
    file.unlink()
    assert store.learned(it)
    assert it in store.unfinished()
    file.write_text(kept)


def test_before_the_first_update_a_training_draws_what_its_start_draws(store):
    starts = {name: store.read(training(name, 0))["looks"]["0"] for name in (MAIN, "no-control", SFT, DIRECT)}
    ends = {name: store.read(training(name, 0))["looks"]["3"] for name in (MAIN, SFT)}
    same = ("right", "rewards", "plans", "distance")
    assert all(starts[MAIN][what] == starts["no-control"][what] for what in same)
    assert starts[MAIN]["plans"]["texts"] == ends[SFT]["plans"]["texts"]
    assert starts[SFT]["plans"]["texts"] != ends[SFT]["plans"]["texts"]
    assert ends[MAIN]["plans"]["texts"] != starts[MAIN]["plans"]["texts"]
    assert starts[DIRECT]["plans"] is None


def test_without_a_controller_nothing_answers_the_entropies(store):
    kept, lost = (store.read(training(name, 0))["curve"] for name in (MAIN, "no-control"))
    assert set(lost["word_coefficient"]) == {0.0}
    assert kept["word_coefficient"][0] == 0.0
    assert 0.0 not in kept["word_coefficient"][1:]
    assert kept["token_entropy"][0] == lost["token_entropy"][0]
    assert kept["token_entropy"][2] != lost["token_entropy"][2]
    assert set(store.read(training(DIRECT, 0))["curve"]["plan_words"]) == {0.0}


# --- measures


def test_a_picture_depends_on_seed_prompt_and_number_alone(folder):
    one = bench(folder)
    panel, policy = Panel(one), load_model(one)

    def drawn(images, prompts, seed=5, plan=True, guidance=1.0):
        it = Measure(name="it", guidance=guidance, plan=plan, images=images, prompts=prompts)
        return panel.draw(policy, it, seed), [prompt.index for prompt in panel.prompts(it)]

    (several, many), (fewer, few) = drawn(3, 24), drawn(2, 2)
    assert several.images.shape == (72, 3, 6, 6)
    rows = [3 * many.index(index) + image for index in few for image in range(2)]
    assert torch.allclose(several.images[rows], fewer.images, atol=1e-4)
    assert [several.plans[row] for row in rows] == list(fewer.plans)
    assert drawn(2, 2, seed=6)[0].plans != fewer.plans
    direct = drawn(2, 2, plan=False)[0]
    assert direct.plans is None
    assert not torch.allclose(direct.images, fewer.images, atol=1e-2)
    assert not torch.allclose(drawn(2, 2, guidance=3.0)[0].images, fewer.images, atol=1e-2)
    assert drawn(2, 2, guidance=3.0)[0].plans == fewer.plans


def test_a_look_sees_some_of_the_pictures_that_are_drawn_in_the_end(folder):
    plan = dataclasses.replace(PLAN, prompts=None, look_prompts=7)
    one = Panel(bench(folder, plan))
    seen, whole = (one.prompts(it) for it in (look(plan, training(MAIN, 0)), next(measures(plan, base(0), 1.0))))
    assert len(seen) == 7
    assert {it.index for it in seen} < {it.index for it in whole}
    assert not look(plan, training(DIRECT, 0)).plan


@pytest.fixture(scope="module")
def scenes():
    """Right for the first prompts of two tasks, and one that is wrong."""
    from pocket_toys import scene_for

    prompts = [Panel(None).suite.prompts[place] for place in (0, 200, 300)]
    return prompts, [scene_for(prompt.request) for prompt in prompts]


def test_every_picture_is_judged_by_its_own_prompt_and_every_plan_by_both(folder, scenes, monkeypatch):
    prompts, right = scenes
    panel = Panel(bench(folder))
    monkeypatch.setattr(panel, "prompts", lambda _: prompts)
    it = Measure(name="planned-1", guidance=1.0, plan=True, images=2, prompts=3)
    shown = [scene for scene in right for _ in range(2)]
    shown[3] = right[0]
    texts = [say_plan(plan_of(scene), 1) for scene in shown[:5]] + ["two what"]
    images = render(shown)
    found = panel.say(Drawn(images=images, plans=tuple(texts), seconds=0.5), it)
    assert found["right"] == [True, True, True, False, True, True]
    assert found["plans"]["texts"] == texts
    assert found["plans"]["readable"] == [True] * 5 + [False]
    assert found["plans"]["meets"] == [True, True, True, False, True, False]
    assert found["plans"]["agrees"] == [1.0] * 5 + [None]
    assert found["plans"]["agrees_whole"] == [True] * 5 + [None]
    assert found["plans"]["words"][5] == 2
    assert found["prompts"] == [0, 200, 300]
    assert found["distance"][0] == 0.0
    assert found["distance"][1] > 0.05
    assert found["rewards"]["imagereward"] == pytest.approx(
        REWARDS["imagereward"](images, [prompt.text for prompt in prompts for _ in range(2)]).tolist()
    )
    without = panel.say(Drawn(images=images[::2], plans=None, seconds=0.5), dataclasses.replace(it, images=1))
    assert (without["plans"], without["distance"]) == (None, None)


def test_what_the_judge_saw_is_said_as_a_plan_says_it_where_one_can(scenes):
    _, right = scenes
    (seen,) = read(render(right[1:2]))
    assert in_words(seen) == say_plan(plan_of(seen), 0)
    thing = Thing(shape=UNCLEAR, colour="red", x=1.0, y=1.0, radius=5.0)
    assert in_words(Scene(background="white", things=(thing,))) == "on a white background: red thing"
    assert in_words(Scene(background="black", things=())) == "on a black background: nothing"


def test_a_sheet_has_the_first_picture_of_every_prompt(tmp_path):
    images = (torch.arange(60.0) / 60).view(60, 1, 1, 1).expand(60, 3, 2, 2)
    (tmp_path / "sheet.png").write_bytes(png_bytes(first_pictures(images, 2)))
    lines = pictures_in(tmp_path / "sheet.png", rows=2, columns=COLUMNS)
    assert lines[0][0].mean() == pytest.approx(0.0)
    assert lines[0][23].mean() == pytest.approx(46 / 60, abs=0.01)
    assert lines[1][5].mean() == pytest.approx(58 / 60, abs=0.01)
    assert lines[1][6].mean() == 1.0


def test_words_below_a_picture_make_their_row_alone_higher():
    import io

    from PIL import Image

    from plaudit.claims.picture_grid import LINE, Row, Tile, draw_grid

    image = np.full((192, 192, 3), 0.5, dtype=np.float32)

    def drawn(*words):
        rows = [Row(name="it", tiles=[Tile(image=image, right=True, words=one)]) for one in words]
        return np.asarray(Image.open(io.BytesIO(draw_grid(rows, 1))).convert("L"))

    plain, worded = drawn("", ""), drawn("a small red star at the top, a large ring below it", "")
    assert worded.shape == (plain.shape[0] + 2 * LINE, plain.shape[1])
    # The second row and what is above the words are as they were.
    assert (worded[-200:] == plain[-200:]).all()
    assert (worded[:200] == plain[:200]).all()
    assert (worded[210 : 210 + 2 * LINE, 104:] < 128).any()


def test_the_same_questions_are_asked_every_time_and_of_fewer_the_first(folder):
    policy = load_model(bench(folder))
    more, fewer = understood(policy, count=100), understood(policy, count=50)
    assert len(more) == 100
    assert more[:50] == fewer
    assert 0 < sum(more) < 100


def test_times_are_taken_in_turns_of_both_ways(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "plaudit.claims.reasongen.measuring.respond",
        lambda _, texts, __, way: calls.append((way.name, len(texts))),
    )
    ways = [Measure(name=name, guidance=1.0, plan=True, images=1, prompts=None) for name in ("a", "b")]
    found = timed(None, ["one", "two"], ways, times=2)
    assert calls == [("a", 64), ("b", 64)] * 2
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}


# --- the report


def test_the_report_is_json_and_every_claim_says_what_a_claim_must(report):
    wanted = {"rewards", "rewards-unseen", "rewards-guided", "lessons", "plans", "plans-readable", "plans-meet"}
    wanted |= {"plans-words", "word-entropy-kept", "token-entropy-kept", "entropy-lost", "against-no-control"}
    wanted |= {"reward-pocket-vqa-product", "reward-imagereward", "reward-pickscore"}
    wanted |= {"understanding", "diversity", "seconds"}
    check_report(report, wanted)
    settings = report["settings"]
    assert (settings["updates"], settings["num_prompts"], settings["lessons"]) == (3, 12, 12)
    assert any("'a red circle'" in said for said in settings["overlaps"])
    assert all(said.startswith("PocketEval") for said in settings["lesson_overlaps"])


def test_the_page_and_its_pictures_come_from_the_report_alone(report, store, tmp_path):
    endings = ("curves.svg", "variants.svg", "courses.svg", "examples.png")
    words = check_page(REASONGEN, report, store.folder, tmp_path / "reasongen.json", endings)
    assert len([line for line in words.splitlines() if line.startswith("| no-control |")]) == 3
    texts = store.read(training(MAIN, 0))["measured"]["planned-1"]["plans"]["texts"]
    assert any(text and text in words for text in texts)


def test_examples_are_the_middle_prompt_of_each_task_from_the_same_numbers(store, report):
    grid = report["grids"]["examples"]
    assert [row["name"] for row in grid["rows"]] == ["before", "rewards, direct", "lessons", "lessons, rewards"]
    one = store.measured(training(SFT, 0))["planned-1"]
    prompts = [store.panel.suite.prompts[one["prompts"][place]] for place in grid["places"]]
    assert [prompt.text for prompt in prompts] == grid["captions"]
    assert len({prompt.request.task for prompt in prompts}) == len(prompts) == 6
    lessons = grid["rows"][2]["tiles"]
    assert [tile["right"] for tile in lessons] == [one["right"][2 * place] for place in grid["places"]]
    assert [tile["plan"] for tile in lessons] == [
        one["plans"]["texts"][2 * place] or "(an empty plan)" for place in grid["places"]
    ]
    assert {tile["plan"] for tile in grid["rows"][0]["tiles"]} == {"(no plan)"}


def test_disagreements_are_the_pictures_that_show_the_least_of_a_plan_that_can_be_read(store, tmp_path):
    it = training(MAIN, 0)
    file = store.measure_file(it, store.wanted(it)[0])
    before = file.read_text()
    found = json.loads(before)
    # Of every prompt two pictures, of which the first counts.
    shares = [1.0, 0.0, 0.5, None, 0.25, 1.0, None, 0.0, 0.5, 1.0, 1.0, 1.0] + [None] * 12
    told = {**found["plans"], "agrees": shares, "texts": [f"plan {row}" for row in range(24)]}
    write_json(file, {**found, "plans": told})
    whole = report_of(store)
    file.write_text(before)
    grid = whole["grids"]["disagreements"]
    assert (grid["places"], grid["disagreeing"], grid["readable"]) == ([2, 1, 4], 3, 5)
    assert [tile["plan"] for tile in grid["rows"][0]["tiles"]] == ["plan 4", "plan 2", "plan 8"]
    assert [tile["seen"] for tile in grid["rows"][0]["tiles"]] == [found["seen"][row] for row in (4, 2, 8)]
    endings = {path.name for path in reasongen_report.publish(whole, tmp_path / "it.json", store.folder)}
    assert "it-disagreements.png" in endings
    assert "| plan 4 |" in (tmp_path / "it.md").read_text()


def test_a_report_of_unfinished_trainings_is_refused(tmp_path, folder):
    check_unfinished(REASONGEN, Store(tmp_path, bench(folder)))


def test_where_the_model_is_not_installed_a_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("plaudit.pocket.folders.WEIGHTS", tmp_path)
    with pytest.raises(BadConfig, match="plaudit pocket build pocket-janus"):
        load_bench(quick(), torch.device("cpu"))
    assert main(["reproduce", "reasongen", "--quick", "--out", str(tmp_path / "work")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# --- the command


def test_the_command_measures_says_what_is_met_and_makes_the_page_again(tmp_path, folder, monkeypatch, capsys):
    REASONGEN.stand_in(monkeypatch, dataclasses.replace(TINY, updates=1, lesson_updates=1), partial(bench, folder))
    said = check_command(REASONGEN, tmp_path, capsys)
    assert "reward-imagereward" in said.out
    assert "plan: 2 training(s), 1 seed(s)" in said.err
    assert "reasongen: 1 updates from what sft left with the same seed" in said.err
    assert "sft: 1 updates from the model" in said.err


def test_a_second_process_says_what_it_waits_for(tmp_path, folder, monkeypatch, capsys):
    plan = dataclasses.replace(TINY, updates=2)
    REASONGEN.stand_in(monkeypatch, plan, partial(bench, folder))
    own = Store(tmp_path / "trainings", bench(folder, plan))
    for it in (base(0), training(SFT, 0)):
        list(run(it, own))
    check_waits(REASONGEN, tmp_path, capsys, training(MAIN, 0))


def test_a_measure_is_named_after_the_way_it_draws():
    assert (drawn_how(True, 2.5), drawn_how(False, 1.0)) == ("planned-2.5", "direct-1")
    assert Asking(questions=3).name == "understanding"


def test_the_methods_page_names_every_preset_and_says_whose_numbers_are_not_there_yet():
    from pathlib import Path

    from plaudit.presets.reasongen import LESSONS, TASKS

    words = (Path(__file__).parents[2] / "docs" / "reasongen.md").read_text()
    assert all(f"| {name} |" in words for name in (*TASKS, *LESSONS))
    assert "<!-- generated: measured -->" in words
