import dataclasses
import json
from functools import partial

import pytest
import torch
from tiny_ar_grpo import CLASSES, NETS, PLAN, TASK, bench, save_policy, with_config
from trained_claims import (
    Trained,
    all_done,
    check_command,
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

from plaudit.claims.ar_grpo import page as ar_page
from plaudit.claims.ar_grpo import plan as plans
from plaudit.claims.ar_grpo import report as ar_report
from plaudit.claims.ar_grpo import trainings as ar_trainings
from plaudit.claims.ar_grpo.measuring import MEASURES, TRAINING, Panel, shown_classes, shown_sheet
from plaudit.claims.ar_grpo.models import NETS as REAL_NETS
from plaudit.claims.ar_grpo.models import Bench, config_of, memory_of, set_up
from plaudit.claims.ar_grpo.plan import (
    Best,
    Measure,
    Plan,
    at_guidance,
    base,
    cost,
    full,
    measures,
    quick,
    training,
    trainings,
)
from plaudit.claims.ar_grpo.report import cost_of, load_bench, measure, report_of
from plaudit.claims.ar_grpo.trainings import Store, run
from plaudit.claims.ar_grpo.variants import ABLATIONS, MAIN, VARIANTS, variant_named
from plaudit.claims.held_folder import held
from plaudit.core.errors import BadConfig, UnknownName
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import parse
from plaudit.presets.ar_grpo import pocket_llamagen
from plaudit.runs.files import write_json
from plaudit.shells.cli import main
from plaudit.suites.reference_sets import renders_of

BEST = Best(of_all=2.0, guided=2.0)
TINY_MAIN = dataclasses.replace(PLAN, ablations=())
AR_GRPO = Trained(name="ar-grpo", plan=plans, trainings=ar_trainings, report=ar_report, page=ar_page)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_policy(tmp_path_factory.mktemp("llamagen"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, folder):
    return all_done(AR_GRPO, Store(tmp_path_factory.mktemp("trainings"), bench(folder)))


@pytest.fixture(scope="module")
def report(store):
    return report_of(store)


# --- the plan


def test_a_full_plan_draws_the_untrained_model_first_and_trains_every_variant_with_every_seed():
    every = [(it.name, it.seed) for it in trainings(full())]
    assert len(every) == len(set(every)) == 3 * (1 + len(VARIANTS))
    assert every[:4] == [("base", 0), ("base", 1), ("base", 2), (MAIN, 0)]


def test_a_full_plan_fits_six_hours_of_two_cores_and_a_quick_one_four_minutes_of_one():
    def seconds(plan):
        one = Bench(plan=plan, task=pocket_llamagen(), sources={}, device=torch.device("cpu"))
        return sum(cost_of(it, one, None) for it in trainings(plan))

    assert 3600 < seconds(full()) / 2 < 6 * 3600
    # Loading and plotting take some seconds more.
    assert seconds(quick()) < 200


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_full_plan_trains_in_bfloat16_only_where_that_is_fast(native, precision, monkeypatch):
    monkeypatch.setattr("plaudit.claims.precision.has_fast_bfloat16", lambda _: native)
    assert full().precision == precision
    assert quick().precision == "float32"


def test_work_counts_updates_looks_and_measures():
    """In milliseconds of 64 classes: a drawing, reading it back, three rewards, two nets and the judge."""
    plan = dataclasses.replace(full(), updates=10, look_every=4, look_images=2, images=5, renders=3, training_renders=7)
    config = ArGrpoConfig(prompts_per_update=2, images_per_prompt=3)
    seen = 5.4 + 7.0 + 3.6 + 3 * 2.5 + 2 * 1.9 + 5.0
    guided = seen + 9.3 - 5.4
    drawn = measures(plan, base(0), None)
    reference = 64 * 3 * (2.0 + 3.8)
    told = {"start_images": 11, "rewards": 2}
    assert cost(base(0), plan, config, drawn, **told) == pytest.approx(
        (64 * 5 * (seen + 5 * guided) + reference) / 1000
    )
    one = training("no-kl", 0)
    update = 5.4 + 7.0 + 2 * 2.5 + 1.9 + 9.0
    start = 11 * (5.4 + 7.0 + 1.9) + 64 * 7 * 2.0
    whole = 64 * 5 * seen + reference + 4 * 64 * 2 * seen + start + 10 * 6 * update
    assert cost(one, plan, config, measures(plan, one, BEST), **told) == pytest.approx(whole / 1000)


def test_plans_that_could_not_be_compared_are_refused():
    with pytest.raises(BadConfig, match="seed by seed"):
        Plan(seeds=(0, 1), ablation_seeds=(2,))
    with pytest.raises(BadConfig, match="must have 1, which is none, and one above it"):
        Plan(guidances=(1.5, 2.0))
    with pytest.raises(BadConfig, match="must have 1, which is none, and one above it"):
        Plan(guidances=(1.0,))
    with pytest.raises(BadConfig, match="look_images must be between 2 and images, 4; got 5"):
        Plan(images=4, look_images=5)
    with pytest.raises(UnknownName, match="no variant 'no-kk'"):
        Plan(ablations=("no-kk",))


def test_the_preset_is_drawn_at_the_best_guidance_too_unless_that_is_none():
    names = [it.name for it in measures(PLAN, training(MAIN, 0), BEST)]
    assert names == ["guidance-1", "guidance-2"]
    assert len(list(measures(PLAN, training(MAIN, 0), Best(of_all=1.0, guided=4.0)))) == 1
    assert [it.guidance for it in measures(PLAN, training("guided", 0), BEST)] == [1.0]
    assert [it.guidance for it in measures(PLAN, base(0), None)] == [1.0, 2.0, 4.0]
    with pytest.raises(BadConfig, match="best guidance is not known"):
        list(measures(PLAN, training(MAIN, 0), None))


# --- variants


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_the_preset_in_its_row_alone(name, folder):
    one, it = bench(folder, dataclasses.replace(PLAN, updates=None)), variant_named(name)
    own, usual = (dataclasses.asdict(config_of(training(which, 4), one, BEST)) for which in (name, MAIN))
    assert usual == dataclasses.asdict(dataclasses.replace(TASK.config, seed=4))
    differs = {field for field in own if own[field] != usual[field]}
    # The preset learns the unguided likelihood already; the row says so, for that is what is off-policy there.
    assert differs == (set(it.changes) | ({"guidance"} if it.guided else set())) - {"learned"}
    memories = [dataclasses.asdict(memory_of(training(which, 4), one)) for which in (name, MAIN)]
    assert {field for field in memories[0] if memories[0][field] != memories[1][field]} == set(it.memory)
    assert differs or it.memory


@pytest.mark.parametrize("name", [MAIN, *ABLATIONS])
def test_every_variant_of_the_real_preset_can_be_set_and_says_whether_it_is_on_policy(name):
    one = Bench(plan=full(), task=pocket_llamagen(), sources={}, device=torch.device("cpu"))
    config = config_of(training(name, 0), one, Best(of_all=2.5, guided=2.5))
    assert memory_of(training(name, 0), one).covariance == ("diagonal" if name == "diagonal" else "full")
    assert config.on_policy == (name != "guided")
    assert config.guidance == (2.5 if name == "guided" else 1.0)
    assert config.updates == pocket_llamagen().config.updates


def test_a_variant_that_is_not_there_is_refused():
    with pytest.raises(UnknownName, match="Known: ar-grpo"):
        variant_named("ar-grpp")


def test_guided_training_waits_for_the_best_guidance(folder):
    with pytest.raises(BadConfig, match="best guidance is not known"):
        config_of(training("guided", 0), bench(folder), None)


def test_a_net_that_the_training_sees_by_does_not_measure_it(folder):
    with pytest.raises(BadConfig, match="measure with other feature nets"):
        bench(folder, task=dataclasses.replace(TASK, net="one"))
    assert pocket_llamagen().net not in REAL_NETS
    with pytest.raises(BadConfig, match="a LoRA of 4"):
        bench(folder, task=dataclasses.replace(TASK, rank=4))


def test_the_transformer_is_trained_whole_and_its_start_stays(folder):
    one = bench(folder)
    panel = Panel(one)
    work = set_up(
        training(MAIN, 0), one, BEST, net=panel.net("trained"), reference=panel.real_features("trained", TRAINING)
    )
    assert all(weight.requires_grad for weight in work.policy.transformer.parameters())
    assert not any(weight.requires_grad for weight in work.policy.image_tokenizer.parameters())
    assert not any(weight.requires_grad for weight in work.trainer.start.transformer.parameters())
    before = [weight.clone() for weight in work.trainer.start.transformer.parameters()]
    next(work.trainer.updates())
    assert all(map(torch.equal, before, work.trainer.start.transformer.parameters()))
    assert not all(map(torch.equal, before, work.policy.transformer.parameters()))
    told = {"net": panel.net("trained"), "reference": panel.real_features("trained", TRAINING)}
    assert set_up(training("no-kl", 0), one, BEST, **told).trainer.start is None


def test_loo_fid_begins_with_pictures_drawn_as_those_that_are_learned_from(folder):
    one = bench(folder, dataclasses.replace(PLAN, start_images=None))
    panel = Panel(one)
    told = {"net": panel.net("trained"), "reference": panel.real_features("trained", TRAINING)}
    states = [set_up(training(name, 0), one, BEST, **told).trainer.distribution.state() for name in (MAIN, "guided")]
    assert set(states[0]) == set(states[1])
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_precision_that_is_asked_for_is_the_trainings_and_not_the_drawings(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("plaudit.generators.token_training.check_fast_bfloat16", lambda _: None)
    one = bench(folder, dataclasses.replace(PLAN, precision="bfloat16"))
    panel = Panel(one)
    told = {"net": panel.net("trained"), "reference": panel.real_features("trained", TRAINING)}
    work = set_up(training(MAIN, 0), one, BEST, **told)
    assert type(work.trainer.policy).__name__ == type(work.trainer.start).__name__ == "TokensInBfloat16"
    assert work.trainer.policy.policy is work.policy
    assert Store(tmp_path, one).place(training(MAIN, 0)) != Store(tmp_path, bench(folder)).place(training(MAIN, 0))


# --- trainings


def test_every_training_has_a_folder_of_its_own_and_none_is_made_twice(store):
    check_folders(AR_GRPO, store)


def test_trainings_that_were_done_before_are_found_again(tmp_path, folder):
    """Their names are what results on disk lie under: another name here is hours of training lost."""
    found = Store(tmp_path, bench(folder))
    names = [found.place(it).name for it in (base(0), training(MAIN, 0), training("diagonal", 0))]
    assert names == ["base-s0-cfc82bfd78", "ar-grpo-s0-cf45824c0b", "diagonal-s0-8e13732347"]
    files = [found.measure_file(base(0), one).name for one in found.wanted(base(0))[:1]]
    assert files == ["guidance-1-1e71952545.json"]


def test_what_decides_a_training_is_in_its_name_and_what_does_not_is_not(tmp_path, folder):
    def place(it, plan=PLAN, **changed):
        return Store(tmp_path, bench(folder, plan, with_config(**changed))).place(it)

    it = training(MAIN, 0)
    assert place(it) != place(it, lr=1e-3)
    assert place(base(0)) == place(base(0), lr=1e-3)
    assert place(it) != place(it, dataclasses.replace(PLAN, training_renders=5))
    assert place(it) != place(it, dataclasses.replace(PLAN, look_images=3))
    more = dataclasses.replace(PLAN, images=5)
    assert place(it, more) == place(it)
    wanted = Measure(name="guidance-1", guidance=1.0, images=4)
    files = [Store(tmp_path, bench(folder, plan)).measure_file(it, wanted) for plan in (PLAN, more)]
    assert files[0] == files[1]
    files.append(Store(tmp_path, bench(folder)).measure_file(it, dataclasses.replace(wanted, images=5)))
    files.append(Store(tmp_path, bench(folder, dataclasses.replace(PLAN, renders=5))).measure_file(it, wanted))
    assert len({file.name for file in files}) == 3


def test_the_best_guidance_is_where_the_untrained_model_has_the_lowest_mean_fid_by_the_first_net(tmp_path, folder):
    found = Store(tmp_path, bench(folder, dataclasses.replace(PLAN, seeds=(0, 1), ablation_seeds=())))
    fids = {
        (1.0, 0): (1.0, 9.0),
        (1.0, 1): (2.0, 9.0),
        (2.0, 0): (0.5, 9.0),
        (2.0, 1): (3.0, 9.0),
        (4.0, 0): (9.0, 0.0),
    }
    for (guidance, seed), (one, other) in fids.items():
        (wanted,) = (it for it in found.wanted(base(seed)) if it.guidance == guidance)
        said = {"fidelity": {"one": {"fid": one}, "other": {"fid": other}}}
        write_json(found.measure_file(base(seed), wanted), said)
    assert found.best() is None
    (last,) = (it for it in found.wanted(base(1)) if it.guidance == 4.0)
    write_json(found.measure_file(base(1), last), {"fidelity": {"one": {"fid": 9.0}, "other": {"fid": 0.0}}})
    # Means by the first net: 1.5, 1.75 and 9; of those above 1, the second is the lowest.
    assert found.best() == Best(of_all=1.0, guided=2.0)


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(store, tmp_path, folder, monkeypatch):
    monkeypatch.setattr("plaudit.claims.ar_grpo.trainings.SAVE_EVERY", 1)
    it, again = training(MAIN, 0), Store(tmp_path, bench(folder))
    list(run(base(0), again))
    assert stopped_and_resumed(AR_GRPO, again, it)[0].what.startswith("update 2/3")
    whole, resumed = store.read(it), again.read(it)
    for name in ("reward", "entropy", "distribution_distance", "entropy_coefficient"):
        assert resumed["curve"][name] == whole["curve"][name]
    assert without_times(resumed["looks"]) == without_times(whole["looks"])
    assert without_times(resumed["measured"]) == without_times(whole["measured"])


def without_times(results):
    return {name: {key: value for key, value in one.items() if key != "seconds"} for name, one in results.items()}


def test_a_measure_that_is_missing_is_made_from_the_trained_weights_without_training(store):
    it = training(MAIN, 0)
    check_measured_again(AR_GRPO, store, it, store.wanted(it)[0])


def test_the_last_weights_of_a_training_stay_with_it(store):
    check_last_weights(store, training("guided", 0), 3)


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path, folder):
    own = Store(tmp_path, bench(folder))
    list(run(base(0), own))
    check_left_to_another(AR_GRPO, own, training("instance-only", 0))


def test_who_needs_the_best_guidance_waits_for_the_process_that_draws_the_untrained_model(
    tmp_path, folder, monkeypatch
):
    own = Store(tmp_path, bench(folder, TINY_MAIN))
    holder = held(own.place(base(0)))
    assert holder.__enter__()
    monkeypatch.setattr("plaudit.claims.ar_grpo.report.time.sleep", lambda _: holder.__exit__(None, None, None))
    said = [(progress.training.name, progress.what.split(",")[0]) for progress, _ in measure(own)]
    assert said[0] == (MAIN, "waits: another process draws the model before training")
    assert [it for it in said if it[0] == "base"]
    assert own.unfinished() == []


def test_before_the_first_update_every_training_draws_what_the_untrained_model_draws(store):
    starts = [store.read(training(name, 0))["looks"]["0"] for name in (MAIN, "instance-only")]
    assert starts[0]["rewards"] == starts[1]["rewards"]
    # A look sees the first pictures of every class of the measure.
    whole = store.read(base(0))["measured"]["guidance-1"]
    every = torch.tensor(whole["rewards"]["hps"]).view(len(CLASSES), -1)
    assert torch.allclose(torch.tensor(starts[0]["rewards"]["hps"]), every[:, :2].flatten())
    for net in NETS:
        assert starts[0]["fidelity"][net]["fid"] == pytest.approx(whole["first"][net]["fid"])
        assert whole["first"][net]["images"] == 2 * len(CLASSES)
    last = store.read(training(MAIN, 0))["looks"]["3"]
    assert last["rewards"] != starts[0]["rewards"]


def test_without_a_weight_loo_fid_is_watched_and_guided_pictures_are_off_policy(store):
    curves = {name: store.read(training(name, 0))["curve"] for name in (MAIN, "instance-only", "guided")}
    assert len(curves["instance-only"]["distribution_distance"]) == 3
    assert curves["instance-only"]["reward"][0] == curves[MAIN]["reward"][0]
    assert curves["instance-only"]["reward"][1:] != curves[MAIN]["reward"][1:]
    assert set(curves[MAIN]["off_policy"]) == {0.0}
    assert min(curves["guided"]["off_policy"]) > 0
    assert store.read(training("guided", 0))["config"]["guidance"] == store.best().guided


# --- measures


def test_a_picture_depends_on_seed_class_and_number_alone(folder):
    one = bench(folder)
    panel, policy = Panel(one), one.load_policy("any")
    several, fewer = (panel.draw(policy, Measure(name="it", guidance=2.0, images=images), 5) for images in (4, 2))
    assert several.images.shape == (20, 3, 4, 4)
    groups = several.images.unflatten(0, (5, 4))
    assert torch.allclose(groups[:, :2].flatten(0, 1), fewer.images, atol=1e-5)
    other = panel.draw(policy, Measure(name="it", guidance=2.0, images=2), 6)
    assert not torch.allclose(other.images, fewer.images, atol=1e-2)
    assert 0 < several.entropy < 1
    unguided = panel.draw(policy, Measure(name="it", guidance=1.0, images=4), 5)
    assert unguided.entropy > several.entropy
    assert not torch.allclose(unguided.images, several.images, atol=1e-2)


def test_each_picture_is_judged_by_its_own_class(folder):
    panel = Panel(bench(folder, dataclasses.replace(PLAN, images=3)))
    real = panel.real()
    assert real["right"] == [True] * 15
    turned = torch.cat(list(renders_of(CLASSES, images=15, seed=2).batches())).roll(3, dims=0)
    assert panel.scores(turned)["right"] == [False] * 15
    assert real["rewards"]["hps"] == pytest.approx(panel.scores(turned.roll(-3, dims=0))["rewards"]["hps"])


def test_real_pictures_of_measures_are_none_of_the_trainings(folder):
    panel = Panel(bench(folder))
    training_set, measured = (panel.real_features("one", seed).sample for seed in (TRAINING, MEASURES))
    assert torch.cdist(training_set, measured).min() > 1e-4
    assert panel.real_features("one", MEASURES) is panel.real_features("one", MEASURES)


def test_likeness_and_distance_are_of_each_nets_features(folder):
    """Two pictures of the first class point apart, those of the others the same way."""
    panel = Panel(bench(folder, dataclasses.replace(PLAN, images=2)))
    rng = torch.Generator().manual_seed(0)
    features = torch.rand(5, 1, 6, generator=rng).repeat(1, 2, 1).flatten(0, 1)
    features[0], features[1] = torch.eye(6)[:2]
    found = panel.distances({"one": features}, 2)["one"]
    assert found == pytest.approx([1.0, 0, 0, 0, 0], abs=1e-9)
    likeness = panel.likeness({"one": features, "other": 2 * features}, 2)
    assert likeness["one"]["pairwise_distance"] == pytest.approx(0.2)
    assert likeness["one"]["fid"] != likeness["other"]["fid"]
    assert likeness["one"]["net"] == "one"


def test_a_sheet_shows_classes_side_by_side_and_their_pictures_below_each_other():
    images = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 1, 1) / 12
    sheet = shown_sheet(images, 4, ["a", "b", "c"])
    assert (sheet[0] * 12).tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10]]
    assert shown_classes(64) == [0, 9, 18, 27, 36, 45, 54, 63]


def test_the_course_over_a_class_that_is_about_no_scene_is_refused(folder):
    with pytest.raises(BadConfig, match="'a nice day' is about no scene"):
        Panel(bench(folder, task=dataclasses.replace(TASK, prompts=("a nice day",)))).scores(torch.rand(1, 3, 4, 4))


# --- the report


def test_the_report_is_json_and_every_claim_says_what_a_claim_must(report):
    wanted = {"fid", "fid-other", "recall", "recall-unguided", "distance", "distance-other", "accuracy", "reward-hps"}
    wanted |= {"held-out-imagereward", "fid-guided", "speed", "instance-distance", "instance-recall"}
    check_report(report, wanted | {"against-instance-only", "against-guided", "entropy-kept"})
    assert report["settings"]["updates"] == 3


def test_the_page_and_its_pictures_come_from_the_report_alone(report, store, tmp_path):
    endings = ("curves.svg", "guidance.svg", "variants.svg", "courses.svg", "classes.png", "all.png")
    words = check_page(AR_GRPO, report, store.folder, tmp_path / "ar-grpo.json", endings)
    assert len([line for line in words.splitlines() if line.startswith("| instance-only |")]) == 2


def test_the_grid_shows_the_same_classes_of_every_model_with_the_judges_word(store):
    it = training(MAIN, 0)
    file = store.measure_file(it, store.wanted(it)[0])
    before = file.read_text()
    right = [number % 5 == 0 for number in range(4 * len(CLASSES))]
    write_json(file, {**json.loads(before), "right": right})
    grids = report_of(store)["grids"]
    file.write_text(before)
    assert list(grids["classes"]["models"])[-2:] == [MAIN, "instance-only"]
    assert grids["classes"]["captions"] == list(CLASSES)
    said = grids["classes"]["models"][MAIN]["verdicts"]
    assert said == [[right[4 * place + image] for place in range(5)] for image in range(3)]
    assert grids["all"]["rows"] == 1


def test_a_report_of_unfinished_trainings_is_refused(tmp_path, folder):
    check_unfinished(AR_GRPO, Store(tmp_path, bench(folder)))


@pytest.mark.weights
def test_where_the_model_is_not_installed_a_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("plaudit.pocket.folders.WEIGHTS", tmp_path)
    with pytest.raises(BadConfig, match="plaudit pocket build pocket-llamagen"):
        load_bench(quick(), torch.device("cpu"))
    assert main(["reproduce", "ar-grpo", "--quick", "--out", str(tmp_path / "work")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_real_classes_are_called_is_what_the_judge_finds_in_their_renders():
    classes = pocket_llamagen().prompts
    assert len(classes) == plans.NUM_CLASSES
    pictures = torch.cat(list(renders_of(classes[::9], images=8).batches()))
    assert all(it.right for it in judge(pictures, [parse(name) for name in classes[::9]]))


# --- the command


def test_the_command_measures_says_what_is_met_and_makes_the_page_again(tmp_path, folder, monkeypatch, capsys):
    AR_GRPO.stand_in(monkeypatch, dataclasses.replace(TINY_MAIN, updates=1), partial(bench, folder))
    said = check_command(AR_GRPO, tmp_path, capsys)
    assert "reward-hps" in said.out
    assert "plan: 1 training(s), 1 seed(s)" in said.err


def test_a_second_process_says_what_it_waits_for(tmp_path, folder, monkeypatch, capsys):
    AR_GRPO.stand_in(monkeypatch, dataclasses.replace(TINY_MAIN, updates=2), partial(bench, folder))
    list(run(base(0), Store(tmp_path / "trainings", bench(folder, plans.quick()))))
    check_waits(AR_GRPO, tmp_path, capsys, training(MAIN, 0))


def test_a_measure_is_named_after_its_guidance():
    assert at_guidance(2.5) == "guidance-2.5"
