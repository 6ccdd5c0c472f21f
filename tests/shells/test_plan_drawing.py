"""A Janus on its way into a training: what it was before its LoRA, what is kept in bfloat16, who was never taught."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plaudit.generators.plan_policy import given
from plaudit.generators.plan_rollout import draw_responses, score_responses
from plaudit.generators.plan_training import PlansInBfloat16, frozen_plan_start
from plaudit.generators.table import load_plan_policy
from plaudit.generators.token_policy import Sampling
from plaudit.generators.token_rollout import uniforms_for
from plaudit.generators.trained_part import add_lora
from plaudit.presets.reasongen import LESSONS, TASKS
from plaudit.shells.plan_drawing import LANGUAGE_MODEL, BeforeLora, load_trained, round_frozen_layers, tell_untaught
from plaudit.shells.train_reasongen import ReasonGenOptions

sys.path.append(str(Path(__file__).parents[1] / "generators"))

from tiny_janus import save_janus_folder

PROMPTS = ("a red circle", "two blue star", "the ring")
PLANS = ("a small red circle", "", "ring at left")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_janus_folder(tmp_path_factory.mktemp("janus") / "tiny"))


@pytest.fixture
def policy(folder):
    """With weights that bfloat16 can tell, as Janus-Pro's are."""
    loaded = load_plan_policy(folder)
    for weight in loaded.transformer.parameters():
        weight.data = weight.data.bfloat16().float()
    return loaded


def lay_lora(policy):
    """A LoRA that says something."""
    add_lora(policy.transformer, rank=2, alpha=2.0, targets=LANGUAGE_MODEL)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.transformer.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=rng))


def scored(policy):
    words, written = policy.words_of(PLANS)
    tokens = torch.arange(3 * policy.num_tokens).view(3, -1) % policy.vocabulary
    found = score_responses(policy, given(words, written, tokens), policy.encode(PROMPTS))
    return torch.cat([found.words.log_probs, found.tokens.log_probs], dim=1)


def options(folder, **more):
    return ReasonGenOptions(**{"model": folder, "device": "cpu", "precision": "float32"} | more)


def test_before_a_lora_a_policy_is_what_its_copy_is(policy):
    copied = frozen_plan_start(policy)
    lay_lora(policy)
    start = BeforeLora(policy)
    with torch.no_grad():
        expected = scored(copied)
        assert torch.equal(scored(start), expected)
        assert not torch.allclose(scored(policy), expected)
    assert start.transformer is policy.transformer
    with pytest.raises(NotImplementedError, match="draws none"):
        draw_responses(
            start, policy.encode(PROMPTS), uniforms_for([(0, n) for n in range(3)], 16), words=Sampling(),
            image=Sampling(),
        )  # fmt: skip


@pytest.mark.parametrize("recompute", [False, True])
def test_asking_what_it_was_between_two_backward_passes_loses_no_gradient(policy, recompute):
    lay_lora(policy)
    policy.use_checkpointing(recompute)
    lora = [it for it in policy.transformer.parameters() if it.requires_grad]
    found = []
    for asks in (False, True):
        for _ in range(2):
            loss = scored(policy).square().mean()
            if asks:
                with torch.no_grad():
                    scored(BeforeLora(policy))
            loss.backward()
        assert all(it.requires_grad for it in lora)
        found.append([it.grad.clone() for it in lora])
        for it in lora:
            it.grad = None
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert any(one.abs().sum() > 0 for one in found[0])


def test_a_lora_is_loaded_with_its_start_and_without_a_copy(folder, monkeypatch):
    monkeypatch.setattr("plaudit.generators.plan_training.frozen_plan_start", lambda _: pytest.fail("it was copied"))
    task = replace(TASKS["janus-pro-1b"](), model=folder)
    policy, start = load_trained(options(folder), task, start=True)
    assert start.transformer is policy.transformer
    assert policy.transformer.checkpointing, "the preset says so"
    assert load_trained(options(folder), replace(task, recompute=False))[0].transformer.checkpointing is False
    whole = options(folder, recompute=True)
    assert load_trained(whole, replace(task, recompute=False))[0].transformer.checkpointing, "and so may the user"


def test_the_frozen_layers_are_in_bfloat16_where_products_are_and_the_lora_is_not(folder):
    task = replace(TASKS["janus-pro-1b"](), model=folder)
    for precision, wanted in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network = load_trained(options(folder, precision=precision), task)[0].transformer
        layer = network.language_model.layers[0]
        assert layer.mlp.up_proj.base_layer.weight.dtype == layer.self_attn.q_proj.base_layer.weight.dtype == wanted
        assert layer.input_layernorm.weight.dtype == torch.float32
        assert {it.dtype for it in network.parameters() if it.requires_grad} == {torch.float32}
        others = (network.lm_head, network.generation_head, network.language_model.embed_tokens)
        assert {it.dtype for other in others for it in other.parameters()} == {torch.float32}


def test_with_its_frozen_layers_in_bfloat16_it_says_and_learns_the_same(policy, monkeypatch):
    """As far as a CPU can tell: products in bfloat16 by autocast, of weights that are so already or are made so."""
    monkeypatch.setattr("plaudit.generators.plan_training.check_fast_bfloat16", lambda _: None)
    monkeypatch.setattr("plaudit.core.devices.has_fast_bfloat16", lambda _: True)
    lay_lora(policy)
    lora = [it for it in policy.transformer.parameters() if it.requires_grad]
    found = []
    for rounded in (False, True):
        if rounded:
            round_frozen_layers(policy)
        log_probs = scored(PlansInBfloat16(policy))
        found.append([log_probs.detach(), *torch.autograd.grad(log_probs.sum(), lora)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    for weight in policy.transformer.parameters():
        weight.data = weight.data.float()
    assert not torch.equal(scored(policy), found[0][0]), "it was in bfloat16"


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (TASKS["janus-pro-1b"](), True),
        (TASKS["janus-pro-7b"](), True),
        (replace(TASKS["janus-pro-1b"](), config=replace(TASKS["janus-pro-1b"]().config, plan=False)), False),
        (TASKS["pocket-reasongen"](), False),
    ],
    ids=lambda it: getattr(it, "model", it),
)
def test_who_rewards_plans_that_nobody_taught_is_told_so(task, told, capsys):
    tell_untaught(task)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == told
    assert ("was not taught to plan" in err) is told


def test_the_presets_that_teach_are_for_the_models_that_are_rewarded():
    assert {LESSONS[f"{name}-plans"]().model for name in TASKS if name.startswith("janus")} == {
        TASKS[name]().model for name in TASKS if name.startswith("janus")
    }
