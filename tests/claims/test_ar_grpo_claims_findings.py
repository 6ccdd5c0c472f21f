"""The claims of AR-GRPO with LOO-FID from results made up by hand: two classes, two pictures of each, two seeds."""

import pytest

from plaudit.claims.ar_grpo.findings import BEFORE, TUNED, Model, fid_ratio, found_in
from plaudit.claims.ar_grpo.plan import Best, Plan, base, training
from plaudit.claims.ar_grpo.tables import curves, guidance_rows, levels, model_rows, speed_rows, tables, variant_rows
from plaudit.claims.ar_grpo.variants import MAIN
from plaudit.claims.ar_grpo.verdicts import claims

NETS = ("one", "other")


def measured(*, right=(1, 0, 1, 0), distance=(0.1, 0.3), **told):
    """By the second net, distances are twice as large and recall half."""
    said = {"fid": 1.0, "other": 1.0, "recall": 0.5, "hps": 1.0, "held_out": 0.0, **told}
    assert len(said) == 5
    nets = {
        name: {"fid": said[fid], "kid": 0.0, "precision": 0.5, "recall": said["recall"] / share, "vendi": 2.0}
        for name, fid, share in (("one", "fid", 1), ("other", "other", 2))
    }
    return {
        "measure": {"images": 2}, "fidelity": nets, "first": nets, "entropy": 0.6, "seconds": 0.1,
        "distance": {"one": list(distance), "other": [2 * value for value in distance]},
        "rewards": {"hps": [said["hps"]] * 4, "imagereward": [said["held_out"]] * 4},
        "right": [bool(it) for it in right],
    }  # fmt: skip


def result(entropies=(0.9, 0.7, 0.7, 0.7, 0.8, 0.7), *, kl_weight=0.01, **by_guidance):
    """`by_guidance`: measures by g1, g2, g4; the last third of six updates is the last two."""
    count = len(entropies)
    drawn = {f"guidance-{name[1:]}": one for name, one in by_guidance.items()}
    look = drawn["guidance-1"]
    return {
        "measured": drawn, "looks": {"0": look, "6": {**look, "rewards": {"hps": [5.0] * 4, "imagereward": [0.0] * 4}}},
        "config": {"entropy_target": 0.78, "kl_weight": kl_weight},
        "curve": {
            "entropy": list(entropies), "off_policy": [0.0] * count, "kl": [0.1] * count, "seconds": [2.0] * count,
        },
        "timing": {
            "guided": {"whole": [6.0, 9.0], "tokens": [4.0, 6.0]},
            "unguided": {"whole": [4.0, 6.0], "tokens": [2.0, 3.0]},
        },
    }  # fmt: skip


def before(**unguided):
    """The lowest FID is at 2 by the first net, at 4 by the other."""
    return result(
        g1=measured(
            **{"fid": 4.0, "other": 4.0, "recall": 0.7, "distance": (0.4, 0.6), "right": (0, 0, 1, 0)} | unguided
        ),
        g2=measured(fid=2.0, other=3.0, recall=0.5, distance=(0.1, 0.3), held_out=1.0),
        g4=measured(fid=3.0, other=1.0, recall=0.2, distance=(0.0, 0.1)),
    )


def after(**unguided):
    return result(g1=measured(**unguided), g2=measured(fid=1.0))


def found(mains, bases=None, *, best=2.0, **others):
    """`others`: results of the first seed by the variant's name, with _ for -."""
    names = {name: name.replace("_", "-") for name in others}
    bases = bases or [before() for _ in mains]
    results = [(base(seed), one) for seed, one in enumerate(bases)]
    results += [(training(MAIN, seed), one) for seed, one in enumerate(mains)]
    results += [(training(names[name], 0), one) for name, one in others.items()]
    seeds = tuple(range(len(mains)))
    plan = Plan(
        seeds=seeds, ablation_seeds=(0,), ablations=tuple(names.values()), guidances=(1.0, 2.0, 4.0), images=2,
        look_images=2,
    )  # fmt: skip
    return found_in(
        plan, results, rewards=["hps", "imagereward"], nets=NETS, best=Best(of_all=best, guided=2.0),
        real=measured(fid=0.1, distance=(0.5, 0.7), right=(1, 1, 1, 1)),
    )  # fmt: skip


def usual(**others):
    """FID without guidance 1.5 and 1.7 after, where the lowest before is 2 by one net and 1 by the other."""
    return found(
        [
            after(fid=1.5, other=1.5, recall=0.6, distance=(0.2, 0.6), hps=3.0, held_out=1.5, right=(1, 1, 1, 0)),
            after(fid=1.7, other=1.7, recall=0.8, distance=(0.2, 0.6), hps=3.0, held_out=1.5, right=(1, 1, 1, 1)),
        ],
        **others,
    )


def said_of(one):
    return {claim.id: claim for claim in claims(one)}


def test_fid_is_set_beside_the_lowest_before_by_each_net_apart():
    said = said_of(usual())
    assert said["fid"].measured == pytest.approx((1.5 + 1.7) / 2 / 2)
    assert said["fid"].met is True
    assert "guidance 2" in said["fid"].claim
    assert said["fid"].note.startswith("2.000 to 1.600")
    # By the other net, the untrained model is best at 4, where the claim is missed.
    assert said["fid-other"].measured == pytest.approx(1.6)
    assert said["fid-other"].met is False
    assert "guidance 4" in said["fid-other"].claim


def test_a_fid_at_the_bar_meets_it_and_says_that_it_is_not_decided():
    said = said_of(found([after(fid=1.9), after(fid=2.1)]))["fid"]
    assert said.measured == pytest.approx(1.0)
    assert said.met is True
    assert "the interval includes the bar" in said.note
    assert said_of(found([after(fid=1.9), after(fid=2.2)]))["fid"].met is False


def test_recall_and_distance_must_be_those_at_the_best_guidance_and_are_shown_beside_none():
    said = said_of(usual())
    assert said["recall"].measured == pytest.approx(0.7 - 0.5)
    assert said["recall-unguided"].measured == pytest.approx(0.0)
    assert said["distance"].measured == pytest.approx(0.4 - 0.2)
    assert said["distance-unguided"].measured == pytest.approx(0.4 - 0.5)
    assert said["distance-other"].measured == pytest.approx(2 * 0.2)
    assert (said["recall"].met, said["distance"].met) == (True, True)
    assert (said["recall-unguided"].met, said["distance-unguided"].met) == (None, None)
    worse = said_of(found([after(fid=1.0, recall=0.4, distance=(0.1, 0.2))]))
    assert (worse["recall"].met, worse["distance"].met) == (False, False)
    # Real pictures of the two classes are 0.5 and 0.7 apart.
    assert worse["distance"].note.startswith("0.200 to 0.150; real pictures 0.600")


def test_the_judge_compares_with_the_best_guidance_and_rewards_with_none():
    said = said_of(usual())
    # Right: 3 and 4 of 4, before 2 of 4 at its best guidance and 1 of 4 without.
    assert said["accuracy"].measured == pytest.approx(7 / 8 - 1 / 2)
    assert "+0.625" in said["accuracy"].note
    assert said["accuracy"].met is True
    assert (said["reward-hps"].measured, said["reward-hps"].met) == (pytest.approx(2.0), True)
    assert said["held-out-imagereward"].measured == pytest.approx(0.5)
    assert said["held-out-imagereward"].met is True
    low = said_of(found([after(held_out=0.9, right=(0, 0, 0, 1))]))
    assert (low["held-out-imagereward"].met, low["accuracy"].met) == (False, False)
    assert low["reward-hps"].met is False


def test_a_model_that_is_best_without_guidance_is_named_so_and_its_best_with_guidance_is_shown_beside():
    said = said_of(found([after(fid=1.0, right=(1, 0, 1, 1))], best=1.0))
    assert said["accuracy"].claim.endswith("as many show their class as before without guidance")
    assert said["recall"].claim.endswith("no lower than before without guidance")
    assert said["accuracy"].measured == pytest.approx(3 / 4 - 1 / 4)
    # With guidance 2, half were right.
    assert (said["accuracy-guided"].measured, said["accuracy-guided"].met) == (pytest.approx(3 / 4 - 1 / 2), None)
    assert said["accuracy-guided"].claim.endswith("than before at guidance 2")
    assert "fid-guided" not in said
    assert "accuracy-guided" not in said_of(usual())


def test_where_none_is_the_best_guidance_nothing_is_compared_twice():
    bases = [before(fid=0.5)]
    one = found([after(fid=0.4)], bases, best=1.0)
    said = said_of(one)
    assert {"recall-unguided", "distance-unguided", "fid-guided"}.isdisjoint(said)
    assert said["fid"].measured == pytest.approx(0.8)
    assert [row["pictures"] for row in model_rows(one)] == ["before, unguided", "after, unguided", "other real ones"]
    assert [row["pictures"] for row in variant_rows(one)] == ["base", MAIN]


def test_guidance_costs_by_the_clock_what_the_note_says_of_tokens_alone():
    said = said_of(usual())["speed"]
    assert (said.measured, said.met) == (pytest.approx(1.5), None)
    assert "tokens alone 2.00 times" in said.note
    whole, tokens = speed_rows(usual())
    assert (whole["what"], whole["ratio"]["value"], tokens["unguided"]["value"]) == ("whole", pytest.approx(1.5), 2.5)


def test_rewards_alone_must_lose_variety_against_the_preset_with_the_same_seeds():
    said = said_of(usual(instance_only=after(fid=3.0, recall=0.5, distance=(0.0, 0.4), right=(1, 1, 1, 1))))
    assert said["instance-distance"].measured == pytest.approx(0.2)
    assert said["instance-distance"].met is True
    assert "-0.300" in said["instance-distance"].note
    # The first seed alone: 0.6 less 0.5.
    assert said["instance-recall"].measured == pytest.approx(0.1)
    assert said["instance-recall"].met is True
    assert said["against-instance-only"].measured == pytest.approx(3.0 / 1.5)
    assert said["against-instance-only"].note.startswith("right +0.250, recall -0.100, distance -0.200")
    kept = said_of(usual(instance_only=after(recall=0.7, distance=(0.3, 0.7))))
    assert (kept["instance-distance"].met, kept["instance-recall"].met) == (False, False)


def test_every_ablation_is_set_against_the_preset():
    guided = {**after(fid=6.0), "curve": {**after()["curve"], "off_policy": [0.2, 0.4] * 3}}
    said = said_of(usual(diagonal=after(fid=2.25), guided=guided, distribution_only=after(), no_kl=after()))
    assert said["against-diagonal"].measured == pytest.approx(1.5)
    assert "off-policy" not in said["against-diagonal"].note
    assert said["against-guided"].measured == pytest.approx(4.0)
    assert "0.300 nats per token off-policy" in said["against-guided"].note
    assert {said[f"against-{name}"].met for name in ("distribution-only", "no-kl", "guided")} == {None}


def test_the_controller_is_judged_by_the_last_third_with_it_and_without():
    # The last two of six: 0.02 above the target and 0.04 below it.
    near = result((0.0,) * 4 + (0.80, 0.74), g1=measured(), g2=measured())
    far = result((0.78,) * 4 + (0.70, 0.76), g1=measured(), g2=measured())
    said = said_of(found([near], no_controller=far))
    assert said["entropy-kept"].measured == pytest.approx(0.03)
    assert said["entropy-lost"].measured == pytest.approx(0.05)
    assert (said["entropy-lost"].met, said["entropy-kept"].bar) == (True, 0.03)
    assert "its mean there 0.730" in said["entropy-lost"].note
    other = said_of(found([far], no_controller=result((0.0,) * 4 + (0.78, 0.77), g1=measured())))
    assert (other["entropy-kept"].met, other["entropy-lost"].met) == (False, False)
    assert "against-no-controller" in other


def test_an_entropy_that_swings_around_its_target_does_not_keep_it():
    swings = result((0.78,) * 4 + (0.88, 0.68), g1=measured(), g2=measured())
    assert said_of(found([swings]))["entropy-kept"].met is False


def test_tables_say_what_was_measured():
    one = usual(diagonal=after(fid=3.0), no_kl=result(g1=measured(), kl_weight=0.0))
    unguided, guided, tuned, both, real = model_rows(one)
    assert [row["pictures"] for row in (unguided, guided, tuned, both)] == [
        "before, unguided", "before, guidance 2", "after, unguided", "after, guidance 2",
    ]  # fmt: skip
    assert tuned["fidelity"]["one"]["fid"]["value"] == pytest.approx(1.6)
    assert tuned["distance"]["other"]["value"] == pytest.approx(0.8)
    assert (real["accuracy"]["value"], real["entropy"]) == (1.0, None)
    assert [row["guidance"] for row in guidance_rows(one)] == [1.0, 2.0, 4.0]
    rows = {row["pictures"]: row for row in variant_rows(one)}
    assert list(rows) == ["base", "base, guided", MAIN, "diagonal", "no-kl"]
    assert rows["diagonal"]["ratio"]["value"] == pytest.approx(2.0)
    assert (rows["diagonal"]["kl"], rows["no-kl"]["kl"]) == (pytest.approx(0.1), None)
    assert rows["diagonal"]["seconds_per_update"] == 2.0
    assert rows[MAIN]["last_entropy"] == pytest.approx(0.75)
    told = tables(one)
    assert told["lowest"] == {"one": 2.0, "other": 4.0}
    assert told["entropy_target"] == 0.78


def test_a_curve_has_what_looks_saw_and_every_updates_entropy():
    one = found([after(fid=1.0), after(fid=3.0)])
    (curve,) = curves(one)
    assert curve["updates"] == [0, 6]
    assert curve["fid one"] == {"mean": [2.0, 2.0], "low": [1.0, 1.0], "high": [3.0, 3.0]}
    assert curve["hps"]["mean"] == [1.0, 5.0]
    assert curve["entropy"]["updates"] == [1, 2, 3, 4, 5, 6]
    assert curve["entropy"]["mean"][4] == pytest.approx(0.8)
    assert levels(one)["fid one"]["mean"] == 2.0
    assert levels(one)["distance other"]["mean"] == pytest.approx(0.4)


def test_models_are_compared_with_the_seeds_that_the_first_one_has():
    one = usual(diagonal=after(fid=3.0))
    assert fid_ratio(one, Model(name="diagonal"), TUNED, net="one").value == pytest.approx(2.0)
    assert fid_ratio(one, TUNED, BEFORE, net="one").value == pytest.approx(0.4)
