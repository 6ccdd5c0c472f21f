import dataclasses

import pytest
import torch
from trained_claims import (
    Trained,
    all_done,
    check_damaged,
    check_folders,
    check_left_to_another,
    check_page,
    check_report,
    check_unfinished,
    stopped_and_resumed,
)

from plaudit.claims.over_seeds import over_seeds
from plaudit.claims.rlcm import page as rlcm_page
from plaudit.claims.rlcm import plan as plans
from plaudit.claims.rlcm import report as rlcm_report
from plaudit.claims.rlcm import trainings as cells
from plaudit.claims.rlcm.findings import Found, smoothed, time_ratio
from plaudit.claims.rlcm.plan import Plan, cost, ddpo, full, quick, rlcm, trainings
from plaudit.claims.rlcm.report import report_of, task_rows
from plaudit.claims.rlcm.verdicts import claims
from plaudit.core.errors import BadConfig
from plaudit.generators.table import load_generator

TINY = dataclasses.replace(quick(), horizon=3, diffusion_steps=2, look_prompts=2, general_prompts=6, horizons=(2,))
RLCM = Trained(name="rlcm", plan=plans, trainings=cells, report=rlcm_report, page=rlcm_page)


def bench(plan=TINY):
    """Both methods on pocket-base, which is there in any case."""
    return cells.Bench(
        plan=plan,
        sources={"models": "toys"},
        device=torch.device("cpu"),
        load_model=lambda _, **options: load_generator("pocket-base", **options),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return all_done(RLCM, cells.Store(tmp_path_factory.mktemp("trainings"), bench()))


@pytest.fixture(scope="module")
def report(store):
    return report_of(store)


def test_every_training_is_there_once(store):
    check_folders(RLCM, store)


def test_trainings_that_were_done_before_are_found_again(tmp_path):
    """Their names are what results on disk lie under: another name here is hours of training lost."""
    found = cells.Store(tmp_path, bench(full()))
    names = [found.place(it(full(), "aesthetic", 0)).name for it in (rlcm, ddpo)]
    assert names == ["rlcm-aesthetic-s0-126fb193ff", "ddpo-aesthetic-s0-84e39cac56"]


def test_a_damaged_result_counts_as_absent(store):
    it = rlcm(TINY, "compression", 0)
    check_damaged(store, it, store.place(it) / "result.json")


def test_the_report_is_json_and_every_claim_says_what_a_claim_must(report):
    wanted = {"queries-most", "time-aesthetic", "rollout", "few-steps", "horizon-2", "long", "long-with-kl"}
    check_report(report, wanted)


def test_a_look_before_training_is_the_same_for_all_trainings_of_a_model_and_task(store):
    first, second = (store.read(it) for it in trainings(TINY) if it.name in ("rlcm-aesthetic", "long"))
    assert first["looks"]["0"]["rewards"] == second["looks"]["0"]["rewards"]
    assert first["looks"]["0"]["rewards"] != first["looks"]["2"]["rewards"]


def test_the_steps_it_was_tuned_in_and_others_are_measured_with_the_tuned_weights(store):
    result = store.read(rlcm(TINY, "aesthetic", 0))
    assert set(result["steps"]) == {"2", "3"}
    assert result["steps"]["2"]["rewards"] != {"hps": result["steps"]["2"]["untuned"]["hps"]}
    assert result["steps"]["3"]["rewards"] == result["looks"]["2"]["rewards"]


def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(store, tmp_path):
    it = rlcm(TINY, "compression", 0)
    again = cells.Store(tmp_path, bench())
    assert stopped_and_resumed(RLCM, again, it)[-1].done == 1
    whole, resumed = store.read(it), again.read(it)
    assert resumed["curve"]["reward"] == whole["curve"]["reward"]
    assert resumed["looks"]["2"]["rewards"] == whole["looks"]["2"]["rewards"]


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path):
    check_left_to_another(RLCM, cells.Store(tmp_path, bench()), rlcm(TINY, "compression", 0))


def test_the_page_and_its_pictures_come_from_the_report_alone(report, store, tmp_path):
    endings = ("queries.svg", "seconds.svg", "long.svg", "tasks.png", "long-pictures.png")
    check_page(RLCM, report, store.folder, tmp_path / "rlcm.json", endings)


def test_a_report_of_unfinished_trainings_is_refused(tmp_path):
    check_unfinished(RLCM, cells.Store(tmp_path, bench()))


def curve(rewards, seconds):
    return {"curve": {"reward": rewards, "seconds": [seconds] * len(rewards)}}


def test_the_time_ratio_waits_for_both_the_reward_and_the_gain():
    slow = curve([0.0, 1.0, 2.0, 3.0, 3.0, 3.0], 10.0)
    # As good after its fourth update: its running mean over three is then 3.
    assert time_ratio(slow, curve([0.0, 3.0, 3.0, 3.0], 1.0)) == pytest.approx(60 / 4)
    # It starts above, and must gain as much.
    assert time_ratio(slow, curve([9.0, 9.0, 12.0, 12.0, 12.0], 1.0)) == pytest.approx(60 / 5)
    assert time_ratio(slow, curve([0.0, 1.0, 1.0], 1.0)) == 0.0


def test_a_smoothed_curve_averages_with_what_was_before():
    assert smoothed([3.0, 1.0, 2.0, 6.0]).tolist() == [3.0, 2.0, 2.0, 3.0]


def test_an_interval_over_seeds_is_students():
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - 2.0 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert over_seeds([5.0]).low == 5.0


def made_up(plan, reward_of):
    """Results with rewards by (training, update, prompt, seed); nobody is right."""
    results = {}
    for it in trainings(plan):
        looks = {}
        for update in range(0, it.updates + 1, it.look_every):
            scores = [reward_of(it, update, prompt) for prompt in range(12)]
            looks[str(update)] = {
                "rewards": {"hps": scores, "clip": scores}, "right": [False] * 12, "general": [False] * 6,
                "draw_seconds": 5.0 if it.name.startswith("ddpo") else 1.0,
            }  # fmt: skip
        values = [reward_of(it, update, 0) for update in range(it.updates)]
        results[it.name, it.seed] = {
            "training": dataclasses.asdict(it),
            "rewards": {"trained": "hps", "held_out": "clip"},
            "curve": {
                "reward": values, "seconds": [1.0] * it.updates, "queries": list(range(it.updates)),
                "kl": values, "gradient_norm": values,
            },
            "looks": looks,
            "steps": {
                str(n): {**looks[str(it.updates)], "untuned": looks["0"]["rewards"]}
                for n in (*it.other_steps, it.steps)
            },
        }  # fmt: skip
    return Found(plan=plan, results=results)


def test_the_claims_follow_the_results():
    plan = Plan(updates=8, diffusion_updates=4, long_updates=16)

    def fast(it, update, prompt):
        pace = {"rlcm": 2.0, "ddpo": 1.0, "hori": 1.0, "long": 2.0}[it.name[:4]]
        return 0.1 * (prompt % 3) + pace * update

    found = {claim.id: claim for claim in claims(made_up(plan, fast))}
    assert found["queries-most"].measured == 4
    assert all(found[f"queries-{task}"].met for task in ("compression", "incompression", "aesthetic", "alignment"))
    assert found["rollout"].measured == pytest.approx(5.0)
    assert found["rollout"].met
    assert found["few-steps"].met
    assert found["horizon-2"].met
    assert found["time-aesthetic"].met is False
    assert found["alignment-accuracy"].met is False

    def slow(it, update, prompt):
        return 0.1 * (prompt % 3) + (0.0 if it.name.startswith("rlcm") else 1.0) * update

    found = {claim.id: claim for claim in claims(made_up(plan, slow))}
    assert found["queries-most"].measured == 0
    assert found["time-aesthetic"].measured == 0.0
    assert "never got there" in found["time-aesthetic"].note


def test_a_plan_whose_looks_do_not_meet_is_refused():
    with pytest.raises(BadConfig, match="multiple"):
        Plan(updates=10, diffusion_updates=4)


def test_work_counts_guidance_and_the_steps_that_are_trained():
    plan = full()
    assert cost(rlcm(plan, "aesthetic", 0)) == 48 * 64 * (8 + 7 * 3)
    assert cost(ddpo(plan, "aesthetic", 0)) == 16 * 64 * 2 * (16 + 15 * 3)


def test_every_task_of_the_grid_stands_under_its_own_prompts(tmp_path):
    from plaudit.presets.rlcm import counts, relations, things

    rows = task_rows(full(), cells.Store(tmp_path, bench(full())))
    named = {row["name"]: row["captions"][0] for row in rows if row["captions"]}
    assert named == {
        "compression: LCM": things()[0], "incompression: LCM": things()[0], "aesthetic: LCM": counts()[0],
        "alignment: LCM": relations()[0],
    }  # fmt: skip
    assert [row["name"] for row in rows[:3]] == ["compression: LCM", "RLCM", "DDPO"]
