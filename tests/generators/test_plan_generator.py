"""A plan policy as a generator, and how it is loaded: by folder, row, or what a training left."""

import json

import pytest
import torch
from tiny_janus import GRID, MAX_WORDS, SIDE, load_tiny, save_janus_folder

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.core.random_streams import noise_for
from plaudit.generators.adapters import merge_adapter
from plaudit.generators.direct_drawing import DirectDrawing
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.janus import Janus
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.table import GENERATORS, load_generator, load_plan_policy, load_token_policy
from plaudit.generators.token_policy import Sampling
from plaudit.generators.trained_part import add_lora, save_trained, train_all
from plaudit.generators.tuned import choose
from plaudit.runs.model_card import _how_to_use_it
from plaudit.shells import checking

PROMPTS = ["a red circle", "two blue squares left of a white ring", "a star"]
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.fixture
def folder(tmp_path):
    return save_janus_folder(tmp_path / "tiny")


def noise(generator):
    return noise_for([(0, row) for row in range(3)], generator.noise_shape)


def test_a_folder_with_a_plan_file_is_a_generator_that_writes_plans(folder):
    generator = load_generator(str(folder))
    assert isinstance(generator, PlanGenerator)
    assert isinstance(generator, NoiseGenerator)
    assert generator.sampling == PlanSampling(plan=True)
    assert generator.noise_shape == (MAX_WORDS + GRID * GRID,)
    images = generator.sample(noise(generator), generator.encode(PROMPTS))
    assert images.shape == (3, 3, SIDE, SIDE)
    assert images.dtype == torch.float32


def test_a_folder_as_published_draws_at_once(tmp_path):
    folder = save_janus_folder(tmp_path / "published", settings=None)
    with pytest.raises(BadConfig, match="this model knows 64"):
        load_generator(str(folder))
    told = json.dumps({"max_words": 6, "max_prompt": 20})
    (folder / "plan.json").write_text(told)
    assert load_generator(str(folder)).sampling.plan
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 1024
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "plan.json").unlink()
    generator = load_generator(str(folder))
    assert not generator.sampling.plan
    drawn = generator.draw(noise(generator), generator.encode(PROMPTS))
    assert drawn.plans == ("", "", "")


def test_the_plan_of_each_picture_is_there_to_read(folder):
    generator = load_generator(str(folder))
    condition = generator.encode(PROMPTS)
    drawn = generator.draw(noise(generator), condition)
    assert torch.equal(drawn.images, generator.sample(noise(generator), condition))
    assert len(set(drawn.plans)) == 3
    assert generator.plans(noise(generator), condition) == list(drawn.plans)
    assert generator.plans(noise(generator)[1:2], condition[[1]]) == [drawn.plans[1]]


def test_a_plan_of_the_users_own_is_drawn_for_all(folder):
    policy = load_plan_policy(str(folder))
    generator = PlanGenerator(policy, plan="a red star")
    condition = generator.encode(PROMPTS)
    drawn = generator.draw(noise(generator), condition)
    assert drawn.plans == ("a red star",) * 3
    assert generator.plans(noise(generator), condition) == ["a red star"] * 3
    free = PlanGenerator(policy)
    assert not torch.equal(drawn.images, free.sample(noise(free), free.encode(PROMPTS)))
    with pytest.raises(BadConfig, match="says 'unicorn', which is no word of this model"):
        PlanGenerator(policy, plan="a unicorn")


def test_without_a_plan_it_draws_what_the_direct_policy_draws(folder):
    policy = load_plan_policy(str(folder))
    generator = PlanGenerator(policy, PlanSampling(plan=False, image=Sampling(guidance=2.0)))
    condition = generator.encode(PROMPTS)
    assert torch.equal(condition.ids, policy.direct.encode(PROMPTS).ids)
    assert generator.plans(noise(generator), condition) == ["", "", ""]
    response = generator.respond(noise(generator), condition)
    assert response.written.sum().item() == 3


def test_a_policy_can_be_asked_for_by_what_it_does(folder, sd_folder):
    assert isinstance(load_plan_policy(str(folder)), Janus)
    assert isinstance(load_token_policy(str(folder)), DirectDrawing)
    with pytest.raises(
        BadConfig, match=r"'pocket-turbo' writes no plans; models that do, or may learn it, are .*janus"
    ):
        load_plan_policy("pocket-turbo")
    with pytest.raises(BadConfig, match="writes no plans"):
        load_plan_policy(str(sd_folder))
    with pytest.raises(UnknownName, match="Did you mean 'janus-pro-1b'"):
        load_plan_policy("janus-pro-1")


@pytest.mark.parametrize("name", ["janus-pro-1b", "deepseek-community/Janus-Pro-7B"])
def test_a_published_janus_out_of_reach_says_how_to_fetch_it(monkeypatch, tmp_path, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match="plaudit fetch janus-pro-"):
        load_generator(name)


def test_a_published_janus_is_guided_as_its_row_says_and_writes_no_plan(monkeypatch, folder):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr("plaudit.core.hub.ask", lambda _: None)
    generator = load_generator("janus-pro-1b")
    assert generator.sampling == PlanSampling(image=Sampling(guidance=5.0), plan=False)
    assert GENERATORS.find("janus-pro-7b").facts["tokens"] == 576


def made_training(path, model, change, sampling):
    """A training's folder as it is left: run.json, and what `change` made of the transformer."""
    path.mkdir()
    told = {"kind": "training", "method": "made", "settings": {"model": str(model)}, "sampling": sampling}
    (path / "run.json").write_text(json.dumps(told))
    policy = load_plan_policy(str(model))
    change(policy.transformer)
    save_trained(policy.transformer, path)
    return policy


def moved(transformer):
    train_all(transformer)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in transformer.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=rng)


def with_lora(transformer):
    add_lora(transformer, rank=2, targets=ATTENTION)
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if "lora_B" in name:
                weight += 0.3 * torch.randn(weight.shape, generator=rng)


PLANNED = {"guidance": 2.0, "words": {"temperature": 0.8}}


@pytest.mark.parametrize("change", [moved, with_lora])
@pytest.mark.parametrize("tied", [False, True])
def test_a_training_that_taught_plans_is_loaded_as_it_was_left(tmp_path, change, tied):
    folder = save_janus_folder(tmp_path / "tiny", tied=tied)
    policy = made_training(tmp_path / "run", folder, change, PLANNED)
    generator = load_generator(str(tmp_path / "run"))
    wanted = PlanSampling(words=Sampling(temperature=0.8), image=Sampling(guidance=2.0))
    assert generator.sampling == wanted
    trained, before = PlanGenerator(policy, wanted), PlanGenerator(load_plan_policy(str(folder)), wanted)
    condition = trained.encode(PROMPTS)
    found = generator.respond(noise(generator), condition)
    own = trained.respond(noise(trained), condition)
    assert torch.equal(found.words, own.words)
    torch.testing.assert_close(found.token_log_probs, own.token_log_probs, atol=1e-3, rtol=1e-3)
    start = before.respond(noise(before), condition)
    assert not torch.allclose(start.token_log_probs, own.token_log_probs, atol=1e-3)


def test_a_training_without_words_taught_it_to_draw_at_once(tmp_path, folder):
    made_training(tmp_path / "run", folder, moved, {"guidance": 1.0})
    assert not load_generator(str(tmp_path / "run")).sampling.plan


def test_a_lora_is_laid_over_by_its_scale_and_nothing_where_it_is_zero(tmp_path, folder):
    policy = made_training(tmp_path / "run", folder, with_lora, PLANNED)
    condition = policy.encode(PROMPTS)
    full, none, again = (
        load_generator(str(folder), lora=tmp_path / "run", lora_scale=scale).policy for scale in (1.0, 0.0, 1.0)
    )
    plain = load_plan_policy(str(folder))
    name = "language_model.layers.0.self_attn.q_proj.weight"
    one, nothing, start = (dict(it.transformer.named_parameters())[name] for it in (full, none, plain))
    assert torch.equal(nothing, start)
    assert not torch.allclose(one, start)
    assert torch.equal(one, dict(again.transformer.named_parameters())[name])
    layer = policy.transformer.language_model.layers[0].self_attn.q_proj
    by_hand = start + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(one, by_hand.detach())
    assert condition.ids.shape[0] == 3


def test_peft_lays_the_same_folder_over_transformers_own_model(tmp_path, folder):
    from peft import PeftModel

    policy = made_training(tmp_path / "run", folder, with_lora, PLANNED)
    plain = load_tiny(tmp_path / "other")
    laid = PeftModel.from_pretrained(plain.network, str(tmp_path / "run"))
    ids = policy.encode(PROMPTS[:1]).ids
    theirs = laid(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    ours = policy.transformer.word_logits(
        policy.transformer.read(policy.transformer.embed_words(ids), torch.arange(ids.shape[1])[None], None)
    )
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-4)
    changed = {name for name, _ in laid.named_parameters() if "lora_" in name}
    assert changed
    assert not [name for name in changed if "vision" in name], "the tower that understands stays as it is"


def test_a_lora_can_be_switched_off_and_trains_alone(folder):
    policy = load_plan_policy(str(folder))
    condition = policy.encode(PROMPTS)
    before = policy.begin(condition, guided=False).hidden
    with_lora(policy.transformer)
    after = policy.begin(condition, guided=False).hidden
    assert not torch.allclose(after, before)
    policy.transformer.disable_adapters()
    torch.testing.assert_close(policy.begin(condition, guided=False).hidden, before)
    policy.transformer.enable_adapters()
    torch.testing.assert_close(policy.begin(condition, guided=False).hidden, after)
    trained = [name for name, weight in policy.transformer.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "adapter_config.json").unlink(), "must say the LoRA's r and lora_alpha"),
        (lambda run: (run / "adapter_config.json").write_text("{}"), "must say the LoRA's r and lora_alpha"),
        (lambda run: (run / "adapter_model.safetensors").write_bytes(b"x"), "damaged or cut short"),
    ],
)
def test_a_damaged_lora_is_refused(tmp_path, folder, damage, said):
    made_training(tmp_path / "run", folder, with_lora, PLANNED)
    damage(tmp_path / "run")
    with pytest.raises(BadConfig, match=said):
        load_generator(str(tmp_path / "run"))


def test_a_lora_of_another_model_is_refused(tmp_path, folder):
    made_training(tmp_path / "run", folder, with_lora, PLANNED)
    other = load_tiny(tmp_path / "other", kv_heads=2)
    with pytest.raises(BadConfig, match=r"does not fit this model: it changes .*k_proj.* not here in that shape"):
        merge_adapter(other.transformer, tmp_path / "run" / "adapter_model.safetensors")
    with pytest.raises(BadConfig, match="does not fit this model"):
        merge_adapter(torch.nn.Linear(2, 2), tmp_path / "run" / "adapter_model.safetensors")


def test_a_lora_of_tokens_is_told_of_as_one_in_its_model_card(tmp_path, folder):
    made_training(tmp_path / "run", folder, with_lora, PLANNED)
    said = _how_to_use_it(tmp_path / "run", choose(str(tmp_path / "run")), "a fox")
    assert "`adapter_model.safetensors` and the file beside it hold a LoRA over the base model" in said
    assert "guidance 2," in said


def test_the_contract_of_a_janus_can_be_checked_from_the_command_line(folder, capsys):
    assert checking.run(checking.CheckOptions(kind="model", name=str(folder))) == 0
    assert "keeps the contract of a model" in capsys.readouterr().out
