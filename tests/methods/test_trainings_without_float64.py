"""What trains and searches gives the same numbers on a device without float64, as Apple's GPUs are."""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from methods.toy_denoiser import SMALL, ToyDenoising, Wishes, rewards
from no_float64 import ELSEWHERE, NoFloat64, move
from toy_tokens import Bright
from toys import Painter, Rounded

from plaudit.core import float64
from plaudit.generators.trained_part import train_all
from plaudit.methods.advantages import RunningAdvantages
from plaudit.methods.anchor import Start, WeightAnchor
from plaudit.methods.ar_grpo import ArGrpo, Judges
from plaudit.methods.ar_grpo_config import ArGrpoConfig
from plaudit.methods.plan_sft import Lessons, PlanSft, PlanSftConfig
from plaudit.methods.r0 import R0
from plaudit.methods.reasongen import ReasonGen
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.methods.search import SearchConfig, evolve
from plaudit.rewards.mix import WeightedSum
from plaudit.rewards.normalised import Normalised

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import CODES, GRID, load_tiny
from tiny_token_models import small_policy

SAYS = ("a red circle", "a big star")
SHORT = {"updates": 2, "lr": 0.01, "batch_size": 4}


def _normalised():
    return WeightedSum({"bright": (1.0, Normalised(Bright()))})


def _tokens(place):
    torch.manual_seed(0)
    policy = small_policy()
    train_all(policy.transformer)
    return _placed(policy, place, policy.transformer, policy.image_tokenizer)


def _plans(place, folder):
    policy = load_tiny(folder)
    train_all(policy.transformer)
    policy.writable = policy.writable.to(place)
    return _placed(policy, place, policy.transformer, policy.image_tokenizer)


def _placed(policy, place, *parts):
    policy.device = place
    for part in parts if place == ELSEWHERE else ():
        move(part)
    return policy


class PlacedDenoising(ToyDenoising):
    def __init__(self, place):
        super().__init__()
        self.device = place
        if place == ELSEWHERE:
            move(self.denoiser)

    def encode(self, prompts):
        return Wishes(super().encode(prompts).values.to(self.device))

    def level_at(self, place):
        return super().level_at(place.to(self.device))


def ar_grpo(place, _):
    config = ArGrpoConfig(**SHORT, prompts_per_update=2, images_per_prompt=3, distribution_weight=0.0)
    config = replace(config, guidance=2.0, learned="drawn")
    return ArGrpo(_tokens(place), Judges(pictures=_normalised()), ["0", "3"], config)


def reasongen(place, folder):
    config = ReasonGenConfig(**SHORT, prompts_per_update=2, images_per_prompt=3, rounds=2)
    return ReasonGen(_plans(place, folder), _normalised(), SAYS, config)


def plan_sft(place, folder):
    tokens = torch.arange(6 * GRID**2).view(6, -1) % CODES
    lessons = Lessons(prompts=SAYS * 3, plans=("a red star", "") * 3, tokens=tokens)
    config = PlanSftConfig(**SHORT, lessons_per_update=4, held_out_share=0.3, warmup=0)
    return PlanSft(_plans(place, folder), lessons, config)


def r0(place, _):
    denoising, frozen = PlacedDenoising(place), PlacedDenoising(place)
    parameters = list(denoising.denoiser.parameters())
    start = Start(frozen=frozen, anchor=WeightAnchor(parameters, [p.detach().clone() for p in parameters]))
    return R0(denoising, rewards(), SAYS, SMALL, start=start)


def _timeless(update):
    return {name: value for name, value in update.metrics().items() if name != "seconds"}


TRAININGS = {"ar-grpo": ar_grpo, "reasongen": reasongen, "plan-sft": plan_sft, "r0": r0}


def _here_and_there(monkeypatch, what):
    """What a function of a device gives where there is float64, and where there is none."""
    monkeypatch.setattr(float64, "has_float64", lambda device: device != ELSEWHERE)
    found = []
    for place in (torch.device("cpu"), ELSEWHERE):
        with NoFloat64() if place == ELSEWHERE else contextlib.nullcontext():
            found.append(what(place))
    return found


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_goes_the_same_way(name, monkeypatch, tmp_path):
    def run(place):
        one = TRAININGS[name](place, tmp_path / str(place).replace(":", "-"))
        told = [_timeless(update) for update in one.updates()]
        looks = one.look() if name == "plan-sft" else {}
        state = {key: value.double() for key, value in one.state().items()}
        return told, looks, state

    here, elsewhere = _here_and_there(monkeypatch, run)
    assert len(here[0]) > 1
    torch.testing.assert_close(elsewhere, here, rtol=0, atol=0)


def test_a_running_comparison_says_the_same(monkeypatch):
    scores = torch.tensor([1.0, 2.5, 3.0])

    def run(place):
        found = RunningAdvantages(size=3, min_count=2)(scores.to(place), [0, 0, 1])
        assert found.device == place
        return found.tolist()

    here, elsewhere = _here_and_there(monkeypatch, run)
    assert elsewhere == here


def test_an_evolution_finds_the_same(monkeypatch):
    def run(place):
        generator = Painter()
        generator.device, generator.mix = place, generator.mix.to(place)
        encode = generator.encode
        generator.encode = lambda prompts: type(found := encode(prompts))(found.values.to(place))
        return [step.total.tolist() for step in evolve(generator, Rounded(), SAYS, SearchConfig(forwards=9))]

    here, elsewhere = _here_and_there(monkeypatch, run)
    assert len(here) > 1
    assert elsewhere == here
