"""ReasonGen-R1's claims from results made up by hand: four prompts of two tasks, two pictures of each, two seeds."""

import numpy as np
import pytest

from plaudit.claims.reasongen.findings import (
    BEFORE,
    TAUGHT,
    TUNED,
    TUNED_DIRECT,
    Model,
    accuracy,
    accuracy_unseen,
    distance_gain,
    found_in,
    gain,
    gain_unseen,
    plans_mean,
    split_by_plan,
    understanding_gain,
)
from plaudit.claims.reasongen.plan import Plan, training
from plaudit.claims.reasongen.tables import (
    curves,
    levels,
    model_rows,
    plan_rows,
    speed_row,
    tables,
    understanding_rows,
    variant_rows,
)
from plaudit.claims.reasongen.variants import BASE, DIRECT, MAIN, SFT, variant_named
from plaudit.claims.reasongen.verdicts import claims
from plaudit.pocket.judge import read
from plaudit.pocket.plans import plan_of, say_plan
from plaudit.pocket.render import render
from plaudit.suites.plan_agreement import plan_scores, plan_verdict
from plaudit.suites.pocket_eval import pocket_eval_prompts

EVERY = pocket_eval_prompts()
POSITIONS = [prompt for prompt in EVERY if prompt.request.task == "position"]
SEEN, UNSEEN = (next(it for it in POSITIONS if it.unseen == unseen) for unseen in (False, True))
PROMPTS = [EVERY[0], EVERY[1], SEEN, UNSEEN]
"""two of the first task, of which nothing is unseen; two of another, of which one is"""


def drawn(right, *, images=2, reward=1.0, distance=0.5, plans=None):
    """A measure's findings. `right`: of all pictures, of the first prompts; `plans`: what is said of their plans."""
    count, prompts = len(right), PROMPTS[: len(right) // images]
    assert count == images * len(prompts)
    told = None
    if plans is not None:
        told = {
            "texts": ["words"] * count, "readable": [True] * count, "meets": [True] * count, "agrees": [1.0] * count,
            "agrees_whole": [True] * count, "words": [10] * count, **plans,
        }  # fmt: skip
    return {
        "prompts": [prompt.index for prompt in prompts], "right": [bool(it) for it in right],
        "rewards": {"pocket-vqa": [reward] * count, "imagereward": [2 * reward] * count},
        "distance": [distance] * len(prompts) if images > 1 else None, "plans": told, "seen": [""] * count,
        "seconds": 0.1, "measure": {"images": images},
    }  # fmt: skip


def result(measured, *, answers=(1, 1, 0, 0), words=(0.5,) * 6, tokens=(2.0,) * 6, word_target=0.5, token_target=2.0):
    """A training's results; the last third of six updates is the last two."""
    look = {**next(iter(measured.values())), "distance": [0.5] * len(PROMPTS)}
    count = len(words)
    return {
        "measured": {**measured, "understanding": {"right": [bool(it) for it in answers], "seconds": 0.1}},
        "looks": {"0": look, "6": {**look, "right": [True] * 8}},
        "config": {"word_entropy": word_target, "token_entropy": token_target},
        "curve": {
            "word_entropy": list(words), "token_entropy": list(tokens), "reward": [0.5] * count,
            "plan_words": [12.0] * count, "word_coefficient": [0.1] * count, "token_coefficient": [0.2] * count,
            "equal_groups": [0.25] * count, "seconds": [3.0] * count,
        },
        "timing": {"planned-1": [0.6, 0.9], "direct-1": [0.3, 0.3]},
    }  # fmt: skip


def planned(right, **told):
    """Without guidance as said, with it all wrong; colder all right."""
    plans = told.pop("plans", {})
    return {
        "planned-1": drawn(right, plans=plans, **told),
        "planned-2": drawn([0] * len(right), plans=plans, **told),
        "planned-1-at-0.8": drawn([1] * len(right), plans=plans, **told),
    }


def before(right=(0,) * 8):
    return result({
        **planned((0,) * 8), "direct-1": drawn(right, reward=0.5), "direct-2": drawn((1,) * 8)
    })  # fmt: skip


def direct(right):
    return result({"direct-1": drawn(right), "direct-2": drawn(right)})


def found(mains, taughts, bases=None, **others):
    """Results by seed; `others`: results of the first seed by the variant's name, with _ for -."""
    names = {name.replace("_", "-"): one for name, one in others.items()}
    by_name = {BASE: bases or [before() for _ in mains], SFT: taughts, MAIN: mains}
    results = [(training(name, seed), one) for name, every in by_name.items() for seed, one in enumerate(every)]
    results += [(training(name, 0), one) for name, one in names.items()]
    plan = Plan(seeds=tuple(range(len(mains))), ablation_seeds=(0,), ablations=tuple(names))
    return found_in(plan, results, rewards=["pocket-vqa", "imagereward"], guidance=2.0)


def usual(**others):
    """Of the first task 1/2 and 3/4 right after rewards, of the second 1/4 and 1/2; after lessons 1/4 and nothing."""
    return found(
        [
            result(planned((1, 1, 0, 0, 1, 0, 0, 0), reward=3.0, distance=0.2)),
            result(planned((1, 1, 1, 0, 1, 0, 1, 0), reward=3.0, distance=0.2)),
        ],
        [result(planned((1, 0, 0, 0, 0, 0, 0, 0), reward=2.0, distance=0.3)) for _ in range(2)],
        **others,
    )


def said_of(one):
    return {claim.id: claim for claim in claims(one)}


# --- accuracy


def test_accuracy_is_the_mean_of_tasks_over_prompts_with_seeds_averaged():
    # Of the first task (1/2 + 3/4) / 2 = 5/8, of the second (1/4 + 1/2) / 2 = 3/8.
    assert accuracy(usual(), TUNED).value == pytest.approx(1 / 2)
    assert accuracy(usual(), TAUGHT).value == pytest.approx(1 / 8)
    # A task of fewer prompts counts as much: all right of the first task's two prompts, none of the other's one.
    fewer = planned((1, 1, 1, 1, 0, 0))
    one = found(
        [result(fewer)], [result(fewer)], [result({**fewer, "direct-1": drawn((0,) * 6), "direct-2": drawn((0,) * 6)})]
    )
    assert accuracy(one, TUNED).value == pytest.approx(1 / 2)
    assert gain(one, TUNED, BEFORE).value == pytest.approx(1 / 2)


def test_unseen_prompts_are_set_beside_the_others_of_their_tasks_alone():
    one = usual()
    # The fourth prompt: right once of four pictures; the third twice.
    assert accuracy_unseen(one, TUNED).value == pytest.approx(1 / 4)
    assert accuracy_unseen(one, TUNED, unseen=False).value == pytest.approx(1 / 2)
    assert gain_unseen(one, TUNED, TAUGHT).value == pytest.approx(1 / 4)


def test_rewards_must_add_six_hundredths_and_what_is_drawn_otherwise_is_shown():
    said = said_of(usual())
    assert said["rewards"].measured == pytest.approx(3 / 8)
    assert (said["rewards"].bar, said["rewards"].met) == (0.06, True)
    assert said["rewards"].note.startswith("0.125 to 0.500")
    assert (said["rewards-guided"].measured, said["rewards-guided"].met) == (0.0, None)
    assert said["rewards-unseen"].measured == pytest.approx(1 / 4)
    assert (said["rewards-colder"].measured, said["rewards-colder"].met) == (-1 / 2, None)
    assert said["rewards-colder"].note.startswith("colder, the lessons alone have 1.000; both colder, rewards gain +0.")
    same = [result(planned((1, 0, 0, 0, 0, 0, 0, 0)))]
    assert said_of(found(same, same))["rewards"].met is False


def test_lessons_with_a_plan_are_set_against_the_model_before_without():
    said = said_of(usual())
    assert said["lessons"].measured == pytest.approx(1 / 8)
    assert "0.000 to 0.125" in said["lessons"].note
    worse = found([result(planned((1,) * 8))], [result(planned((1,) * 8))], [before((1,) * 8)])
    assert said_of(worse)["lessons"].met is False
    # What stands in the note is the model before with its own plans.
    assert "gains -1.000 by its own plans" in said_of(worse)["lessons"].note


def test_what_plans_add_to_lessons_is_shown_beside_the_same_lessons_without():
    lessons = result({"direct-1": drawn((1, 0, 1, 0), images=1)})
    said = said_of(usual(direct_lessons=lessons))["lessons-plans"]
    # The first pictures alone, of the first seed alone: 1/2 and 0 after lessons, 1/2 and 1/2 without plans.
    assert said.measured == pytest.approx(1 / 4 - 1 / 2)
    assert (said.met, said.bar) == (None, None)
    assert "without plans: 0.500" in said.note


def test_plans_help_if_all_with_them_is_above_rewards_without():
    said = said_of(usual(direct=direct((1, 0, 0, 0, 0, 0, 0, 0))))["plans"]
    # The first seed: 1/2 and 1/4 against 1/4 and 0.
    assert said.measured == pytest.approx(3 / 8 - 1 / 8)
    # The fourth prompt gains nothing, and four say little: the interval holds zero.
    assert said.interval[0] < 0 < said.interval[1]
    assert said.met is False
    assert "0.125, +0.125 over the model before" in said.note
    assert said_of(usual(direct=direct((0,) * 8)))["plans"].met is False
    every = found([result(planned((1,) * 8))], [result(planned((0,) * 8))], direct=direct((1, 0) * 4))
    assert (said_of(every)["plans"].measured, said_of(every)["plans"].met) == (pytest.approx(1 / 2), True)
    assert "plans" not in said_of(usual())


def test_models_are_compared_with_the_seeds_and_pictures_that_both_have():
    # A picture of each prompt by the other, whose second ones would be right.
    one = usual(no_sft=result({"planned-1": drawn((1, 1, 0, 0), images=1, plans={})}))
    # First pictures of the first seed: 1/2 and 1/2 against 1 and 0.
    assert gain(one, TUNED, Model(name="no-sft")).value == pytest.approx(0.0)
    assert gain(one, Model(name="no-sft"), TUNED).value == pytest.approx(0.0)


# --- plans


def test_plans_are_measured_as_the_suite_measures_them():
    """The same plans and pictures by `plan_scores`, in one seed."""
    from pocket_toys import scene_for

    scenes = [scene_for(prompt.request) for prompt in PROMPTS]
    plans = [say_plan(plan_of(scene), 0) for scene in scenes]
    plans[1], seen = "two what", read(render([*scenes[1:], scenes[0]]))
    verdicts = [plan_verdict(*one) for one in zip(plans, seen, (it.request for it in PROMPTS), strict=True)]
    told = {name: [getattr(it, name) for it in verdicts] for name in ("readable", "meets", "agrees", "words")}
    one = found([result({"planned-1": drawn((0,) * 4, images=1, plans=told)})], [result(planned((0,) * 8))])
    whole = plan_scores(plans, seen, PROMPTS)
    for name in told:
        ours, theirs = plans_mean(one, TUNED, name), getattr(whole, name)
        assert (ours.value, ours.prompts) == (pytest.approx(theirs.value), theirs.prompts)


def test_a_plan_that_cannot_be_read_agrees_with_nothing_and_is_left_out():
    told = {"agrees": [0.5, None, None, None, 1.0, 0.0, None, 1.0]}
    one = found([result(planned((0,) * 8, plans=told))], [result(planned((0,) * 8))])
    # Of the first task the first prompt alone, 1/2; of the second (1/2 + 1) / 2.
    assert plans_mean(one, TUNED, "agrees").value == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert plans_mean(one, TUNED, "agrees").prompts == 3
    none = found([result(planned((0,) * 8, plans={"agrees": [None] * 8}))], [result(planned((0,) * 8))])
    assert plans_mean(none, TUNED, "agrees") is None
    assert "plans-agree" not in said_of(none)
    assert said_of(one)["plans-agree"].note.startswith("after the lessons alone 1.000")


def test_accuracy_is_split_by_whether_the_plan_meets_the_prompt():
    told = {"meets": [True, False, False, True, True, True, False, False]}
    one = found([result(planned((1, 1, 0, 0, 1, 1, 0, 0), plans=told))], [result(planned((0,) * 8))])
    split = split_by_plan(one, TUNED)
    # Of prompts' means: 1, 0, 1 where it is met; 1, 0, 0 where it is not.
    assert split["met"].value == pytest.approx(2 / 3)
    assert split["missed"].value == pytest.approx(1 / 3)
    said = said_of(one)["plans-split"]
    assert (said.measured, said.met) == (pytest.approx(2 / 3), None)
    assert "of the others 0.333" in said.note
    assert "there are no others" in said_of(usual())["plans-split"].note


# --- entropies


def course(**told):
    return result(planned((1,) * 8), **told)


def test_the_controller_is_judged_by_the_last_third_with_it_and_without():
    # The last two of six updates: a fifth above the target and as much below it; tokens where they should be.
    near = course(words=(0.0,) * 4 + (0.6, 0.4))
    far = course(words=(0.5,) * 6, tokens=(2.0,) * 4 + (1.0, 1.4))
    said = said_of(found([near], [course()], no_control=far))
    assert said["word-entropy-kept"].measured == pytest.approx(0.2)
    assert (said["word-entropy-kept"].met, said["token-entropy-kept"].met) == (True, True)
    assert "25% of 0.5 nats" in said["word-entropy-kept"].claim
    assert said["entropy-lost"].measured == pytest.approx(0.4)
    assert (said["entropy-lost"].met, said["entropy-lost"].bar) == (True, 0.25)
    assert said["entropy-lost"].claim.endswith("that of tokens")
    assert "tokens 0.400 from theirs, 1.200 nats" in said["entropy-lost"].note
    other = said_of(found([far], [course()], no_control=near))
    assert (other["token-entropy-kept"].met, other["entropy-lost"].met) == (False, False)


def test_an_entropy_that_swings_around_its_target_does_not_keep_it():
    assert said_of(found([course(words=(0.8, 0.2) * 3)], [course()]))["word-entropy-kept"].met is False


def test_a_target_is_the_presets_whatever_an_ablation_says():
    one = found([course()], [course()], no_control=course(word_target=9.0, token_target=9.0))
    assert one.off_target("no-control", "word") == [pytest.approx(0.0)]
    assert "entropy-lost" not in said_of(found([course()], [course()]))


# --- the other claims


def test_every_ablation_is_set_against_the_preset():
    others = {
        name: result({"planned-1": drawn((0,) * 4, images=1, plans={})})
        for name in ("no_control", "hard_judge", "no_sft", "fractions")
    }
    said = said_of(usual(**others))
    # First pictures of the first seed: 1/2 and 1/2, against nothing.
    gains = [said[f"against-{name.replace('_', '-')}"].measured for name in others]
    assert gains == pytest.approx([1 / 2] * 4)
    assert all(said[f"against-{name.replace('_', '-')}"].met is not None for name in others)
    assert said["against-hard-judge"].paper == variant_named("hard-judge").paper
    better = {"hard_judge": result({"planned-1": drawn((1,) * 4, images=1, plans={})})}
    assert said_of(usual(**better))["against-hard-judge"].met is False
    assert said["rewards-hard-judge"].bar is None
    assert said_of(usual(**better))["rewards-hard-judge"].measured > said["rewards-hard-judge"].measured
    assert said["fractions-against-hard-judge"].measured == 0.0
    assert said_of(usual(**{**others, **better}))["fractions-against-hard-judge"].measured == -1.0
    assert "fractions-against-hard-judge" not in said_of(usual(**better))


def test_understanding_is_lost_unless_the_whole_interval_lies_above_the_bar():
    answers = (1, 1, 0, 1) * 50
    kept = found([course(answers=answers)], [course(answers=answers)], [result(before()["measured"], answers=answers)])
    said = said_of(kept)["understanding"]
    assert (said.measured, said.bar, said.met) == (0.0, -0.03, True)
    # A mean above the bar is not enough: right and wrong change places.
    turned = found(
        [course(answers=(1, 0, 1, 1))],
        [course(answers=(1, 1, 0, 1))],
        [result(before()["measured"], answers=(1, 1, 0, 1))],
    )
    assert understanding_gain(turned, MAIN).value == 0.0
    assert said_of(turned)["understanding"].met is False


def test_rewards_and_distance_are_gained_over_the_lessons_alone():
    said = said_of(usual())
    assert said["reward-pocket-vqa"].measured == pytest.approx(1.0)
    assert said["reward-imagereward"].measured == pytest.approx(2.0)
    assert "never trained on" in said["reward-imagereward"].claim
    assert "never" not in said["reward-pocket-vqa"].claim
    assert said["diversity"].measured == pytest.approx(-0.1)
    assert {said[name].met for name in ("reward-pocket-vqa", "reward-imagereward", "diversity")} == {None}
    assert distance_gain(usual(), TUNED, TAUGHT).prompts == 4


def test_planning_costs_what_the_pairs_of_timings_say():
    said = said_of(usual())["seconds"]
    assert said.measured == pytest.approx(2.5)
    assert "0.7500 and 0.3000 seconds" in said.note
    assert speed_row(usual())["ratio"]["value"] == pytest.approx(2.5)


def test_no_claim_is_named_twice_and_unconfirmed_numbers_are_called_so():
    others = {name: result({"planned-1": drawn((0,) * 4, images=1, plans={})}) for name in ("no_control", "no_sft")}
    every = claims(usual(direct=direct((0,) * 8), **others))
    assert len({claim.id for claim in every}) == len(every)
    assert all("0.86" not in claim.paper or "0.86 (unconfirmed)" in claim.paper for claim in every)


# --- tables


def test_tables_say_what_was_measured():
    one = usual(direct=direct((1,) * 8), hard_judge=result({"planned-1": drawn((0,) * 4, images=1, plans={})}))
    rows = model_rows(one)
    assert [(row["pictures"], row["guidance"]) for row in rows[:5]] == [
        ("before, without a plan", 1.0), ("before, with its plans", 1.0), ("rewards without plans", 1.0),
        ("lessons", 1.0), ("lessons and rewards", 1.0),
    ]  # fmt: skip
    assert len(rows) == 10
    assert rows[4]["accuracy"]["value"] == pytest.approx(1 / 2)
    assert rows[4]["tasks"]["position"]["value"] == pytest.approx(3 / 8)
    assert rows[9]["accuracy"]["value"] == 0.0
    assert rows[4]["unseen"]["value"] == pytest.approx(1 / 4)
    names = [row["pictures"] for row in plan_rows(one)]
    assert names == ["before, with its plans", "lessons", "lessons and rewards", "hard-judge"]
    variants = {row["pictures"]: row for row in variant_rows(one)}
    assert list(variants) == [BASE, SFT, MAIN, DIRECT, "hard-judge"]
    assert variants[DIRECT]["gain"]["value"] == pytest.approx(1 - 3 / 8)
    assert variants["hard-judge"]["plan_words"] == 12.0
    assert "word_entropy" not in variants[DIRECT]
    assert "token_entropy" not in variants[SFT]
    assert variants[MAIN]["equal_groups"] == 0.25
    assert [row["gain"] is None for row in understanding_rows(one)] == [True, False, False, False]
    assert tables(one)["targets"] == {"word": 0.5, "token": 2.0}


def test_a_curve_has_what_looks_and_updates_told():
    told = {"agrees": [None] * 8}
    one = found(
        [result(planned((0,) * 8, plans=told), words=(1.0,) * 6), result(planned((1,) * 8, plans=told))],
        [result(planned((0,) * 8)) for _ in range(2)], direct=direct((1,) * 8), direct_lessons=direct((1,) * 8),
    )  # fmt: skip
    by_name = {curve["name"]: curve for curve in curves(one)}
    assert list(by_name) == [MAIN, DIRECT]
    own = by_name[MAIN]
    assert own["looks"]["updates"] == [0, 6]
    assert own["looks"]["accuracy"] == {"mean": [0.5, 1.0], "low": [0.0, 1.0], "high": [1.0, 1.0]}
    assert "agrees" not in own["looks"]
    assert own["looks"]["readable"]["mean"] == [1.0, 1.0]
    assert own["updates"]["updates"] == [1, 2, 3, 4, 5, 6]
    assert own["updates"]["word_entropy"]["mean"] == pytest.approx([0.75] * 6)
    assert "word_entropy" not in by_name[DIRECT]["updates"]
    assert "readable" not in by_name[DIRECT]["looks"]
    # Where trainings by rewards start: the last look at the lessons.
    assert levels(one)["accuracy"] == [1.0, 1.0]
    assert np.mean(levels(one)["distance"]) == 0.5
    assert (TUNED_DIRECT.drawn, BEFORE.drawn, TUNED.drawn) == ("direct-1", "direct-1", "planned-1")
