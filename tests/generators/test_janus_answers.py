"""What a Janus answers about images: by transformers' own words, and with images that are really looked at."""

import math

import pytest
import torch
from tiny_janus import GRID, SIDE, load_tiny

from plaudit.core.errors import BadConfig
from plaudit.generators.janus import padded_square
from plaudit.generators.janus_answers import answer, yes_probability

QUESTIONS = ["is there a red circle ?", "how many ?", "what colour is the star on the left ?"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_tiny(tmp_path_factory.mktemp("janus") / "tiny")


def images(seed=0, count=3):
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def asked(policy, questions):
    """What transformers' processor makes of a question, written out: image, then question, padding first."""
    signs = "<begin_of_image>" + "<image_placeholder>" * GRID * GRID + "<end_of_image>"
    texts = [f"<s>{signs} {question}" for question in questions]
    return policy.words.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")


def test_answers_are_word_by_word_those_of_transformers(policy):
    read = asked(policy, QUESTIONS)
    banned = ~policy.writable
    banned[[policy.words.end, policy.begin_of_image]] = torch.tensor([False, True])
    theirs = policy.network.generate(
        input_ids=read["input_ids"], attention_mask=read["attention_mask"], pixel_values=2 * images() - 1,
        do_sample=False, max_new_tokens=6, suppress_tokens=banned.nonzero().flatten().tolist(),
    )[:, read["input_ids"].shape[1] :]  # fmt: skip
    wanted = policy.words.tokenizer.batch_decode(theirs, skip_special_tokens=True)
    assert answer(policy, images(), QUESTIONS, max_words=6) == wanted
    assert any(wanted)


def test_an_answer_ends_where_the_model_ends_it(policy, monkeypatch):
    real = type(policy.transformer).word_logits

    def ending(network, states):
        logits = real(network, states)
        logits[0, policy.words.end] = 1e4
        return logits

    monkeypatch.setattr(type(policy.transformer), "word_logits", ending)
    found = answer(policy, images(), QUESTIONS, max_words=4)
    assert found[0] == ""
    assert all(found[1:])


def test_the_probability_of_yes_is_the_heads_by_hand(policy):
    read = asked(policy, QUESTIONS)
    logits = policy.network(**read, pixel_values=2 * images() - 1).logits[:, -1]
    yes, no = policy.words.ids("yes")[0], policy.words.ids("no")[0]
    found = yes_probability(policy, images(), QUESTIONS)
    for row in range(3):
        by_hand = 1 / (1 + math.exp(float(logits[row, no] - logits[row, yes])))
        assert math.isclose(float(found[row]), by_hand, abs_tol=1e-4)


def test_another_image_has_another_answer_and_a_row_is_independent(policy):
    one, other = (yes_probability(policy, images(seed), QUESTIONS) for seed in (0, 1))
    assert not torch.allclose(one, other)
    alone = yes_probability(policy, images()[1:2], QUESTIONS[1:2])
    torch.testing.assert_close(alone[0], one[1], atol=1e-5, rtol=1e-5)


def test_oblong_images_are_shown_whole(policy):
    wide = images(count=1).repeat(1, 1, 1, 2)
    shown = padded_square(wide, SIDE)
    assert shown.shape == (1, 3, SIDE, SIDE)
    grey = torch.full((3, SIDE), 127 / 255)
    torch.testing.assert_close(shown[0, :, 0], grey)
    torch.testing.assert_close(shown[0, :, -1], grey)
    assert float(yes_probability(policy, wide, QUESTIONS[:1])) > 0


def test_what_cannot_be_asked_is_refused(policy):
    with pytest.raises(BadConfig, match="got 3 images and 1 questions"):
        answer(policy, images(), QUESTIONS[:1])
    with pytest.raises(BadConfig, match="the question 'is </s> there' holds '</s>'"):
        answer(policy, images()[:1], ["is </s> there"])
