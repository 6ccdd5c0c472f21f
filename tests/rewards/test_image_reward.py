import json

import pytest
import torch
from conftest import save_image_reward
from safetensors.torch import load_file, save_file
from torch import nn

from plaudit.core.errors import BadConfig
from plaudit.rewards.check import check_reward
from plaudit.rewards.image_reward import PUBLISHED_MLP_SIZES, ImageReward, ImageRewardModel, linear_head

PROMPTS = ["a red square", "two blue circle"]


@pytest.fixture
def model(image_reward_folder):
    return ImageRewardModel.from_pretrained(image_reward_folder).eval()


def tokens(length=16):
    ids = torch.randint(0, 50, (2, length), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    return ids, mask


def test_it_keeps_the_contract(image_reward_folder):
    check_reward(ImageReward.from_pretrained(image_reward_folder))


def test_saved_and_loaded_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = ImageRewardModel.from_pretrained(tmp_path).eval()
    pixels, (ids, mask) = torch.randn(2, 3, 16, 16), tokens()
    assert torch.equal(model(pixels, ids, mask), again(pixels, ids, mask))


def test_half_precision_weights_load_as_float32(model, tmp_path):
    model.save_pretrained(tmp_path, dtype=torch.float16)
    assert {p.dtype for p in ImageRewardModel.from_pretrained(tmp_path).parameters()} == {torch.float32}


def test_the_weights_are_named_as_in_the_published_checkpoint(image_reward_folder):
    names = set(load_file(image_reward_folder / "model.safetensors"))
    assert {
        "blip.visual_encoder.cls_token",
        "blip.visual_encoder.pos_embed",
        "blip.visual_encoder.patch_embed.proj.weight",
        "blip.visual_encoder.blocks.1.attn.qkv.weight",
        "blip.visual_encoder.blocks.1.attn.proj.bias",
        "blip.visual_encoder.blocks.0.norm2.weight",
        "blip.visual_encoder.blocks.0.mlp.fc1.weight",
        "blip.visual_encoder.norm.weight",
        "blip.text_encoder.encoder.layer.0.crossattention.self.key.weight",
        "mlp.layers.0.weight",
        "mlp.layers.7.bias",
    } <= names


def test_the_head_is_linear_and_numbered_as_published():
    head = linear_head(768, PUBLISHED_MLP_SIZES)
    linear = {name: tuple(m.weight.shape) for name, m in head.named_children() if isinstance(m, nn.Linear)}
    assert linear == {"0": (1024, 768), "2": (128, 1024), "4": (64, 128), "6": (16, 64), "7": (1, 16)}
    x, y = torch.randn(4, 768), torch.randn(4, 768)
    head.eval()
    torch.testing.assert_close(head(x + y), head(x) + head(y) - head(torch.zeros(4, 768)))


def test_the_score_is_normalised_by_the_config_s_mean_and_spread(model):
    pixels, (ids, mask) = torch.randn(2, 3, 16, 16), tokens()
    score = model(pixels, ids, mask)
    model.mean, model.std = 0.0, 1.0
    torch.testing.assert_close(score, (model(pixels, ids, mask) - 0.1) / 2.0)


def test_padding_is_not_read_but_the_last_word_is(model):
    pixels, (ids, mask) = torch.randn(2, 3, 16, 16), tokens()
    score = model(pixels, ids, mask)
    other = ids.clone()
    other[1, 12] += 1
    other[0, 15] += 1
    changed = model(pixels, other, mask) != score
    assert changed.tolist() == [True, False]


def test_the_text_looks_at_the_image(model):
    ids, mask = tokens()
    assert not torch.equal(model(torch.zeros(2, 3, 16, 16), ids, mask), model(torch.ones(2, 3, 16, 16), ids, mask))


def test_checkpointing_changes_no_gradient(model):
    model.requires_grad_(False)
    pixels, (ids, mask) = torch.randn(2, 3, 16, 16, requires_grad=True), tokens()
    plain = torch.autograd.grad(model(pixels, ids, mask).sum(), pixels)[0]
    model.checkpointing = True
    again = torch.autograd.grad(model(pixels, ids, mask).sum(), pixels)[0]
    assert plain.abs().sum() > 0
    torch.testing.assert_close(plain, again)


def test_it_can_be_trained(model):
    model.train()
    pixels, (ids, mask) = torch.randn(2, 3, 16, 16), tokens()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        better, worse = model(pixels, ids, mask)
        loss = -nn.functional.logsigmoid(better - worse)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    better, worse = model(pixels, ids, mask)
    assert better > worse + 1


def test_a_checkpoint_that_does_not_fit_its_config_is_refused(tmp_path):
    folder = save_image_reward(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["blip.visual_encoder.extra"] = weights.pop("blip.visual_encoder.cls_token")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BadConfig, match=r"1 weights missing.*cls_token.*1 unknown"):
        ImageRewardModel.from_pretrained(folder)


def test_towers_of_different_width_are_refused(image_reward_folder):
    config = json.loads((image_reward_folder / "config.json").read_text())
    config["text_config"]["encoder_hidden_size"] = 99
    with pytest.raises(BadConfig, match="image tokens of width 99"):
        ImageRewardModel.from_config(config)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(BadConfig, match=r"has no config\.json"):
        ImageReward.from_pretrained(tmp_path)


def test_a_prompt_is_tokenised_once(image_reward_folder):
    reward = ImageReward.from_pretrained(image_reward_folder)
    reward(torch.rand(2, 3, 16, 16), PROMPTS)
    reward.tokenizer = None
    assert reward(torch.rand(2, 3, 16, 16), PROMPTS[::-1]).shape == (2,)
