"""What the pocket models learn from: near misses are false, answers are right, losses are the published ones."""

import math

import numpy as np
import pytest
import torch

from plaudit.pocket.build.base import new_scheduler
from plaudit.pocket.build.clip import contrast, describable, patch_answers, whole_truth
from plaudit.pocket.build.image_reward import new_bert_tokenizer
from plaudit.pocket.build.negatives import false_requests, near_scene
from plaudit.pocket.build.text import answers_of, new_tokenizer, tokenise
from plaudit.pocket.build.turbo import clean_of
from plaudit.pocket.prompts import describe
from plaudit.pocket.scenes import COLOURS, SHAPES, Scene, Thing, draw_scene
from plaudit.pocket.truth import failures


@pytest.mark.parametrize("seed", range(60))
def test_near_misses_are_different_and_false(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    _, request = describe(scene, rng)
    misses = false_requests(scene, request, rng, 8)
    assert len(set(misses)) == 8
    assert all(failures(scene, miss) for miss in misses)
    assert failures(near_scene(scene, request, rng), request)


@pytest.mark.parametrize("seed", range(60))
def test_the_whole_truth_is_true(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), kind=("one", "pair", "count")[seed % 3])
    request = whole_truth(scene)
    if len(scene.things) > 1:
        assert failures(scene, request) == ()
    assert request.background == scene.background
    assert describable(scene)


def test_answers_name_shapes_colours_and_counts() -> None:
    rng = np.random.default_rng(0)
    scene = draw_scene(rng, kind="pair")
    request = whole_truth(scene)
    row = answers_of([request])[0].tolist()
    assert [SHAPES[row[0] - 1], list(COLOURS)[row[1] - 1]] == [
        request.wanted[0].shape,
        request.wanted[0].colour,
    ]
    assert [SHAPES[row[2] - 1], list(COLOURS)[row[3] - 1]] == [
        request.wanted[1].shape,
        request.wanted[1].colour,
    ]


def test_every_word_of_the_world_is_one_token() -> None:
    tokenizer, bert = new_tokenizer(), new_bert_tokenizer()
    rng = np.random.default_rng(1)
    for _ in range(100):
        text = describe(draw_scene(rng), rng)[0]
        assert len(tokenizer.tokenize(text)) == len(text.split())
        assert bert.tokenize(text) == text.split()
    ids = tokenise(tokenizer, ["a fox", "A Red Ring"])
    assert ids.shape == (2, 32)
    assert torch.equal(ids[1], tokenise(tokenizer, ["a red ring"])[0])


def test_the_contrastive_loss_by_hand() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Prompts along their pictures; the near miss of the first is opposite, of the second equal to its prompt.
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 1.0]])
    loss, right = contrast(images, texts, torch.ones(2, 2, dtype=torch.bool), torch.tensor(1.0))
    e, one = math.e, 1.0
    to_text = (math.log((e + one + 1 / e) / e) + math.log((e + one + e) / e)) / 2
    to_image = math.log((e + one) / e)
    to_misses = (math.log((e + 1 / e) / e) + math.log(2)) / 2
    assert float(loss) == pytest.approx(0.5 * (to_text + to_image) + to_misses, rel=1e-5)
    assert float(right) == 0.5


def test_a_true_prompt_of_another_picture_does_not_count_as_wrong() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    true = torch.zeros(2, 2, dtype=torch.bool)
    masked, _ = contrast(images, texts, true, torch.tensor(20.0))
    assert float(masked) == pytest.approx(0.0, abs=1e-5)


def test_v_predictions_give_back_the_clean_latents() -> None:
    alphas = new_scheduler().alphas_cumprod
    rng = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 8, 8, 8, generator=rng) for _ in range(2))
    times = torch.tensor([0, 300, 800, 999])
    alpha = alphas[times][:, None, None, None]
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    assert torch.allclose(clean_of(noisy, v, alphas, times), clean, atol=1e-5)


def test_the_last_time_is_pure_noise() -> None:
    assert float(new_scheduler().alphas_cumprod[999]) == 0.0


def test_patches_are_told_what_lies_there() -> None:
    scene = Scene(background="grey", things=(Thing(shape="ring", colour="blue", x=20, y=44, radius=9),))
    shapes = patch_answers([scene])[0, :, 0].view(8, 8)
    ring = 1 + SHAPES.index("ring")
    # Patch centres at 12, 20 and 28 lie within 10 pixels of 20; 36, 44 and 52 of 44.
    expected = torch.zeros(8, 8, dtype=torch.long)
    expected[4:7, 1:4] = ring
    assert torch.equal(shapes, expected)
    assert patch_answers([scene])[0, :, 1].max() == 1 + list(COLOURS).index("blue")
