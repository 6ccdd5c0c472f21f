"""Each published reward, in miniature and in its own format, against an independent reading of its formula."""

import json
import shutil

import pytest
import torch
from original_formulas import cropped, head, hps, image_reward, padded
from published_formats import (
    HEADS,
    SIDE,
    TEXT_LENGTH,
    save_aesthetic,
    save_clip_settings,
    save_hps,
    save_image_reward_as_published,
)
from transformers import BertTokenizer, CLIPConfig, CLIPModel

from plaudit.core.errors import BadConfig
from plaudit.rewards.aesthetic import load_aesthetic
from plaudit.rewards.check import check_reward
from plaudit.rewards.clip_towers import ClipTowers, load_towers
from plaudit.rewards.hps import load_hps
from plaudit.rewards.image_reward import ImageReward, load_image_reward
from plaudit.rewards.table import load_reward

PROMPTS = ["a red square", "two blue circles and a green star left of a ring of three squares", "circle"]
SHAPES = [(16, 16), (40, 40), (37, 64), (64, 41), (21, 90), (13, 9)]


def pictures(height=40, width=40):
    rng = torch.Generator().manual_seed(height * 1000 + width)
    coarse = torch.rand(3, 3, 7, 9, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.1 * torch.rand(3, 3, height, width, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module")
def hps_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hps")
    return folder, save_hps(folder)


@pytest.fixture(scope="module")
def aesthetic_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aesthetic")
    torch.manual_seed(1)
    return folder, save_aesthetic(folder)


@pytest.fixture(scope="module")
def published_image_reward(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_reward")
    return folder, save_image_reward_as_published(folder)


@pytest.fixture(scope="module")
def rewards(hps_folder, aesthetic_folder, published_image_reward):
    """All of them, by name."""
    return {
        "hps": load_reward(str(hps_folder[0])),
        "hps-crop": load_hps(hps_folder[0], checkpoint=hps_folder[0] / "HPS_v2.1_compressed.pt", fit="crop"),
        "aesthetic": load_reward(str(aesthetic_folder[0])),
        "imagereward": load_reward(str(published_image_reward[0])),
        "clip": load_towers(aesthetic_folder[0], scaled=True),
    }


def expected_of_hps(weights, reward, images, preprocess):
    ids = [reward.tokenizer(p, truncation=True, max_length=TEXT_LENGTH)["input_ids"] for p in PROMPTS]
    return [hps(weights, preprocess(image, SIDE), i, HEADS) for image, i in zip(images, ids, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "preprocess"), [("hps", padded), ("hps-crop", cropped)])
def test_hps_is_its_formula_on_its_own_checkpoint(hps_folder, rewards, name, preprocess, shape):
    images = pictures(*shape)
    expected = expected_of_hps(hps_folder[1], rewards[name], images, preprocess)
    torch.testing.assert_close(rewards[name](images, PROMPTS), torch.tensor(expected), rtol=1e-4, atol=2e-6)


def test_the_two_ways_to_fit_an_image_are_two_scores_unless_it_is_square(rewards):
    square, wide = pictures(40, 40), pictures(37, 64)
    torch.testing.assert_close(rewards["hps"](square, PROMPTS), rewards["hps-crop"](square, PROMPTS))
    apart = rewards["hps"](wide, PROMPTS) - rewards["hps-crop"](wide, PROMPTS)
    assert bool((apart.abs() > 1e-3).all())


@pytest.mark.parametrize("shape", SHAPES)
def test_image_reward_is_its_formula_on_its_own_checkpoint(published_image_reward, rewards, shape):
    folder, weights = published_image_reward
    images, tokenizer = pictures(*shape), BertTokenizer.from_pretrained(str(folder))
    expected = [
        image_reward(weights, cropped(image, SIDE), tokenizer(prompt)["input_ids"], text_heads=HEADS)
        for image, prompt in zip(images, PROMPTS, strict=True)
    ]
    torch.testing.assert_close(rewards["imagereward"](images, PROMPTS), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_image_reward_adds_to_variances_what_blip_does(tmp_path):
    weights, images = save_image_reward_as_published(tmp_path, faint=True), pictures()[:1]
    reward = load_reward(str(tmp_path))
    expected = image_reward(
        weights, cropped(images[0], SIDE), reward.tokenizer("circle")["input_ids"], text_heads=HEADS
    )
    assert reward(images, ["circle"]).item() == pytest.approx(expected, rel=1e-4)


def test_image_reward_reads_thirty_five_tokens(published_image_reward, rewards):
    reward, (folder, weights) = rewards["imagereward"], published_image_reward
    tokenizer = BertTokenizer.from_pretrained(str(folder))
    long = " ".join(["two red squares and"] * 9)
    ids = tokenizer(long)["input_ids"]
    assert len(ids) > 35
    image = pictures()[:1]
    expected = image_reward(weights, cropped(image[0], SIDE), ids, text_heads=HEADS)
    assert reward(image, [long]).item() == pytest.approx(expected, rel=1e-4)
    assert reward(image, [long + " circle circle"]).item() == reward(image, [long]).item()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_aesthetic_score_is_its_formula_on_its_own_checkpoint(aesthetic_folder, rewards, shape):
    folder, weights = aesthetic_folder
    images = pictures(*shape)
    pixels = torch.stack([cropped(image, SIDE) for image in images])
    clip = CLIPModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        seen = clip.get_image_features(pixels).pooler_output
    expected = head(seen / seen.norm(dim=1, keepdim=True), weights, "").squeeze(1)
    torch.testing.assert_close(rewards["aesthetic"](images, PROMPTS), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-3


def test_the_aesthetic_score_does_not_read_the_prompt(rewards):
    images = pictures()
    assert torch.equal(rewards["aesthetic"](images, PROMPTS), rewards["aesthetic"](images, PROMPTS[::-1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_clip_score_and_pickscore_are_the_scaled_cosine_of_the_published_processor(aesthetic_folder, rewards, shape):
    folder, _ = aesthetic_folder
    images = pictures(*shape)
    pixels = torch.stack([cropped(image, SIDE, down=True) for image in images])
    clip = CLIPModel.from_pretrained(str(folder)).eval()
    read = rewards["clip"].tokenizer(PROMPTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        image = clip.get_image_features(pixels).pooler_output
        text = clip.get_text_features(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).pooler_output
        expected = clip.logit_scale.exp() * torch.nn.functional.cosine_similarity(image, text)
    torch.testing.assert_close(rewards["clip"](images, PROMPTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["hps", "hps-crop", "aesthetic", "imagereward", "clip"])
def test_every_published_format_keeps_the_contract(rewards, name):
    check_reward(rewards[name])


@pytest.mark.parametrize("name", ["hps", "hps-crop", "aesthetic", "imagereward", "clip"])
@pytest.mark.parametrize("shape", [(16, 16), (37, 64)])
def test_gradients_are_those_of_finite_differences(rewards, name, shape):
    reward, images = rewards[name], pictures(*shape)[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(images, PROMPTS[:1]).sum(), images)
    rng = torch.Generator().manual_seed(3)
    for step in range(3):
        # Along the gradient itself, then along directions that have little to do with it.
        way = gradient if step == 0 else gradient.abs().mean() * torch.randn(images.shape, generator=rng) + gradient
        way = way / way.norm()
        with torch.no_grad():
            there, back = (reward(images + 0.02 * sign * way, PROMPTS[:1]).item() for sign in (1, -1))
        assert (there - back) / 0.04 == pytest.approx((gradient * way).sum().item(), rel=1e-2)


def test_hps_2_0_and_2_1_in_one_folder_are_too_much(tmp_path):
    save_hps(tmp_path)
    save_hps(tmp_path, version="v2")
    with pytest.raises(BadConfig, match=r"holds HPS_v2_compressed\.pt and HPS_v2\.1_compressed\.pt"):
        load_reward(str(tmp_path))


def test_hps_without_the_files_beside_it_says_what_lacks(tmp_path):
    save_hps(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(BadConfig, match=r"needs a CLIP model's config\.json and tokenizer"):
        load_reward(str(tmp_path))


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_that_are_not_the_model_s_are_refused(tmp_path, change):
    weights = save_hps(tmp_path)
    if change == "missing":
        del weights["visual.transformer.resblocks.1.attn.in_proj_bias"]
    elif change == "unknown":
        weights["visual.attn_pool"] = torch.ones(3)
    else:
        weights["visual.ln_pre.weight"] = torch.ones(3)
    torch.save({"state_dict": weights}, tmp_path / "HPS_v2.1_compressed.pt")
    says = {
        "missing": r"3 weights missing \['vision_model.encoder.layers.1.self_attn.k_proj.bias'",
        "unknown": r"1 unknown \['visual.attn_pool'\]",
        "shape": r"vision_model.pre_layrnorm.weight is \(3,\), wanted \(16,\)",
    }
    with pytest.raises(BadConfig, match=says[change]):
        load_reward(str(tmp_path))


def test_image_reward_s_settings_of_another_model_are_refused(tmp_path):
    save_image_reward_as_published(tmp_path)
    med_config = tmp_path / "med_config.json"
    med_config.write_text(json.dumps({**json.loads(med_config.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(BadConfig, match=r"weights missing.*layer\.2"):
        load_reward(str(tmp_path))
    med_config.write_text("{}")
    with pytest.raises(BadConfig, match="is not ImageReward's: there is no 'hidden_size'"):
        load_reward(str(tmp_path))
    med_config.unlink()
    with pytest.raises(BadConfig, match=r"it has no med_config\.json"):
        load_reward(str(tmp_path))


def test_a_head_for_another_clip_model_is_refused(tmp_path):
    weights = save_aesthetic(tmp_path)
    checkpoint = tmp_path / "sac+logos+ava1-l14-linearMSE.pth"
    torch.save({**weights, "layers.0.weight": torch.ones(1024, 768)}, checkpoint)
    with pytest.raises(BadConfig, match=r"layers.0.weight is \(1024, 768\), wanted \(1024, 12\)"):
        load_aesthetic(tmp_path, checkpoint=checkpoint)


def test_a_clip_folder_that_lacks_weights_is_refused_and_not_filled_with_random_ones(tmp_path):
    save_clip_settings(tmp_path)
    with pytest.raises(BadConfig, match=r"has no weights: it needs a model\.safetensors"):
        ClipTowers.from_pretrained(tmp_path)
    small = json.loads((tmp_path / "config.json").read_text())
    small["text_config"]["num_hidden_layers"] = 1
    CLIPModel(CLIPConfig(**small)).save_pretrained(str(tmp_path / "small"))
    shutil.copy(tmp_path / "small" / "model.safetensors", tmp_path)
    with pytest.raises(BadConfig, match="lacks 16 weights"):
        ClipTowers.from_pretrained(tmp_path)


def test_image_reward_loads_what_it_saves_of_the_published_checkpoint(published_image_reward, rewards, tmp_path):
    folder, _ = published_image_reward
    reward = load_image_reward(folder, tokenizer=folder)
    reward.model.save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    again = ImageReward.from_pretrained(tmp_path)
    torch.testing.assert_close(again(pictures(), PROMPTS), rewards["imagereward"](pictures(), PROMPTS))
