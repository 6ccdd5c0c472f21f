"""Prompts, plans and signs, as words of a model."""

import json

import pytest
from tiny_janus import PLAIN, SIGNS, UNUSED, WORDS, make_tokenizer

from plaudit.core.errors import BadConfig
from plaudit.generators.plan_words import PlanSettings, PlanWords, read_settings, settings_text

COUNT = len(SIGNS) + len(WORDS) + UNUSED


def made(settings=PLAIN, said=None, tokenizer=None):
    return PlanWords(tokenizer or make_tokenizer(), settings, said=said or {}, count=COUNT)


def test_signs_are_those_that_the_tokenizer_names():
    words = made()
    assert (words.padding, words.begin, words.end) == (0, 1, 2)
    assert (words.begin_of_image, words.end_of_image, words.image) == (3, 4, 5)


def test_signs_that_the_tokenizer_does_not_name_are_those_of_the_configuration():
    tokenizer = make_tokenizer()
    tokenizer.bos_token = None
    assert made(said={"bos": 1}, tokenizer=tokenizer).begin == 1
    with pytest.raises(BadConfig, match=r"which word is begin-of-sentence \(bos_token\)"):
        made(tokenizer=tokenizer)
    with pytest.raises(BadConfig, match="begin-of-sentence is word 99 of a model that knows 51"):
        made(said={"bos": 99}, tokenizer=tokenizer)


def test_a_plan_may_hold_words_with_a_text_and_begin_of_image():
    writable = made().writable
    assert writable.shape == (COUNT,)
    assert writable.nonzero().flatten().tolist() == [3, *range(len(SIGNS), len(SIGNS) + len(WORDS))]


def test_prompts_are_framed_and_padded_in_front():
    found = made().prompts(["a star", "red"], "planning")
    assert found.ids.tolist()[1][:1] == [0]
    assert found.mask.tolist() == [[True] * 5, [False, True, True, True, True]]
    assert found.ids[:, -2:].tolist() == [[44, 45], [44, 45]]
    assert made().prompts(["a star"], "direct").ids.tolist() == [[1, 7, 16]]


def test_janus_pro_is_spoken_to_as_published():
    settings = PlanSettings()
    asked = settings.planning.replace("{prompt}", "a fox")
    assert asked == "<|User|>: a fox. Output a richly detailed prompt:\n\n<|Assistant|>:"
    assert settings.direct.replace("{prompt}", "a fox") == "<|User|>: a fox\n\n<|Assistant|>:"


def test_a_full_stop_is_not_said_twice():
    stopped = PlanSettings(planning="{prompt}. plan", direct="{prompt}", max_words=3)
    framed = []
    words = made(stopped)
    words.ids = lambda text: framed.append(text) or [7]
    words.prompts(["a star.", "a star"], "planning")
    words.prompts(["a star."], "direct")
    assert framed == ["a star. plan", "a star. plan", "a star."]


def test_a_long_prompt_loses_its_end_and_keeps_its_frame():
    words = made()
    found = words.prompts(["a red star left of a blue ring on a white background"], "planning")
    assert found.ids.shape == (1, PLAIN.max_prompt)
    assert words.text(found.ids[0].tolist()) == "a red star left of a blue ring on plan :"


@pytest.mark.parametrize("sign", ["<begin_of_image>", "</s>"])
def test_a_prompt_with_a_sign_in_it_is_refused(sign):
    with pytest.raises(BadConfig, match=f"the prompt 'a {sign} star' holds '{sign}', which is a sign"):
        made().prompts([f"a {sign} star"], "planning")
    with pytest.raises(BadConfig, match=f"the plan '{sign}' holds"):
        made().plans([sign], cut=False)


def test_plans_become_words_and_text_again():
    words = made()
    found, written = words.plans(["a red star", " two ", ""], cut=False)
    assert written.sum(dim=1).tolist() == [4, 2, 1]
    assert [row[kept][-1].item() for row, kept in zip(found, written, strict=True)] == [3, 3, 3]
    assert words.texts(found, written) == ["a red star", "two", ""]


def test_a_plan_that_is_too_long_is_refused_or_cut():
    words, long = made(), "a red star left of a ring"
    with pytest.raises(BadConfig, match=r"has 7 words as the model counts, and it reads no more than 6; shorten it"):
        words.plans([long], cut=False)
    found, written = words.plans([long], cut=True)
    assert words.texts(found, written) == ["a red star left of a"]
    assert written.all()
    assert found[0, -1] == 3
    found, written = words.plans(["a red star left of a"], cut=False)
    assert written.all()


def test_a_plan_with_unknown_words_is_refused():
    with pytest.raises(BadConfig, match=r"the plan 'a red dragon on' says 'dragon', which is no word of this model"):
        made().plans(["a red dragon on"], cut=False)


def test_settings_are_read_from_the_folder_or_as_published(tmp_path):
    assert read_settings(tmp_path) == PlanSettings()
    (tmp_path / "plan.json").write_text(settings_text(PLAIN))
    assert read_settings(tmp_path) == PLAIN
    (tmp_path / "plan.json").write_text(json.dumps({"max_words": 20}))
    assert read_settings(tmp_path) == PlanSettings(max_words=20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"max_word": 3}', "may say direct, max_prompt, max_words"),
        ("[1]", "may say"),
        ('{"max_words": "many"}', "as what it is not"),
        ('{"direct": 3}', "as what it is not"),
        ('{"max_words": 0}', "must be at least 1, got 0"),
        ('{"direct": "draw"}', r"direct must hold \{prompt\} once, got 'draw'"),
        ('{"question": "{image}"}', r"question must hold \{image\} and \{question\} once"),
    ],
)
def test_damaged_settings_are_refused(tmp_path, text, said):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(BadConfig, match=said):
        read_settings(tmp_path)
