import json
import shutil

import pytest
import torch
from conftest import save_clip
from transformers import CLIPModel

from plaudit.core.errors import BadConfig
from plaudit.rewards.check import check_reward
from plaudit.rewards.clip_towers import ClipTowers

PROMPTS = ["a red square", "two blue circle", "a red square"]


@pytest.mark.parametrize("scaled", [True, False])
def test_towers_keep_the_contract(clip_folder, scaled):
    check_reward(ClipTowers.from_pretrained(clip_folder, scaled=scaled))


def test_scores_are_those_of_transformers_own_forward(clip_folder):
    reward = ClipTowers.from_pretrained(clip_folder)
    images = torch.rand(3, 3, 16, 16)
    read = reward.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    model = CLIPModel.from_pretrained(str(clip_folder)).eval()
    with torch.no_grad():
        output = model(pixel_values=reward._preprocess(images), input_ids=read["input_ids"])
    torch.testing.assert_close(reward(images, PROMPTS), output.logits_per_image.diagonal())


def test_the_plain_score_is_the_cosine_and_the_scaled_one_a_multiple(clip_folder):
    images = torch.rand(3, 3, 20, 30)
    plain = ClipTowers.from_pretrained(clip_folder, scaled=False)(images, PROMPTS)
    scaled = ClipTowers.from_pretrained(clip_folder, scaled=True)
    assert bool((plain.abs() <= 1).all())
    torch.testing.assert_close(scaled(images, PROMPTS), plain * scaled.model.logit_scale.exp())


def test_a_prompt_is_read_once_in_the_life_of_a_reward(clip_folder):
    reward = ClipTowers.from_pretrained(clip_folder)
    read = []
    inner = reward.tokenizer
    reward.tokenizer = lambda texts, **settings: read.extend(texts) or inner(texts, **settings)
    for _ in range(3):
        reward(torch.rand(3, 3, 16, 16), PROMPTS)
    assert sorted(read) == sorted(set(PROMPTS))


def test_checkpointing_changes_no_gradient(clip_folder):
    gradients = []
    for checkpointing in (False, True):
        reward = ClipTowers.from_pretrained(clip_folder, checkpointing=checkpointing)
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        gradients.append(torch.autograd.grad(reward(images, PROMPTS[:2]).sum(), images)[0])
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_no_parameter_asks_for_a_gradient(clip_folder):
    reward = ClipTowers.from_pretrained(clip_folder)
    assert not any(parameter.requires_grad for parameter in reward.model.parameters())
    assert not reward.model.training


def test_the_folder_s_own_mean_and_spread_are_used(tmp_path):
    folder = save_clip(tmp_path)
    settings = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    reward = ClipTowers.from_pretrained(folder)
    torch.testing.assert_close(reward._preprocess(torch.ones(1, 3, 16, 16)), torch.full((1, 3, 16, 16), 2.0))


def test_a_long_prompt_is_cut_and_not_refused(clip_folder):
    reward = ClipTowers.from_pretrained(clip_folder)
    assert torch.isfinite(reward(torch.rand(1, 3, 16, 16), ["a red square " * 50])).all()


def test_a_folder_that_holds_no_clip_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="not a CLIP folder"):
        ClipTowers.from_pretrained(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(clip_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(clip_folder / name, tmp_path / name)
    with pytest.raises(BadConfig, match="has no tokenizer"):
        ClipTowers.from_pretrained(tmp_path)
