"""Captions of pictures, by a tiny Qwen2.5-VL and by a real server that misbehaves, and how they are scored."""

import base64
import re

import pytest
import torch
from test_http_judge import answer, failing, running
from tiny_encoders import save_deberta
from tiny_judges import save_qwen

from plaudit.core.errors import BadConfig
from plaudit.core.hub import OutOfReach
from plaudit.rewards.bert_score import BertScore
from plaudit.rewards.caption_recall import (
    QUESTION,
    CaptionRecall,
    QwenCaptioner,
    ServerCaptioner,
    load_caption_recall,
    load_http_caption_recall,
)
from plaudit.rewards.chat_server import ChatServer, RefusedRequest, ServerFailed
from plaudit.rewards.check import check_reward
from plaudit.rewards.composed import Identified
from plaudit.rewards.published_captions import CAPTIONS
from plaudit.rewards.table import REWARDS, load_reward
from plaudit.rewards.verdicts import NoVerdict
from plaudit.rewards.vlm_judge import QwenJudge

PROMPTS = ["a red star", "two blue circle and a ring"]
LAYER = 2


@pytest.fixture(autouse=True)
def _pictures_stay_small(monkeypatch):
    monkeypatch.setattr("plaudit.rewards.http_judge.SMALLEST_SIDE", 8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_deberta(tmp_path_factory.mktemp("deberta"), layers=LAYER)


@pytest.fixture(scope="module")
def texts(encoder):
    return BertScore.from_pretrained(encoder, layer=LAYER)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen"))


class Says:
    """A captioner that says what it is told to."""

    identity = "says"

    def __init__(self, *captions):
        self.captions = captions

    def __call__(self, images):
        return list(self.captions[: len(images)])


def images(count=2, height=16, width=16):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def served(server, texts, *, settings=None, silent_score=0.0, **choices):
    settings = {"timeout": 5.0, "tries": 3, "first_wait": 0.1, "pause": lambda *_: None, **(settings or {})}
    chat = ChatServer(url=server if isinstance(server, str) else server.url, model="a-captioner", **settings)
    return CaptionRecall(ServerCaptioner(chat, **choices), texts, silent_score=silent_score)


def expected(texts, captions, prompts=PROMPTS):
    return texts.recall(captions, [f"The image contains {it}" for it in prompts], device=torch.device("cpu"))


def test_the_score_is_how_much_of_the_prompts_sentence_the_caption_says(texts):
    captions = ["The image contains a red star", "a dog"]
    scores = CaptionRecall(Says(*captions), texts)(images(), PROMPTS)
    assert scores.tolist() == pytest.approx(expected(texts, captions))
    assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert scores[1] < 0.99


def test_a_prompt_with_braces_is_only_a_prompt(texts):
    prompt = "a {red} star"
    caption = ["The image contains a {red} star"]
    assert CaptionRecall(Says(*caption), texts)(images(1), [prompt]).tolist() == pytest.approx([1.0], abs=1e-5)


def test_silence_scores_nothing_is_counted_and_can_be_an_error(texts):
    reward = CaptionRecall(Says("a red star", " \n"), texts)
    scores = reward(images(), PROMPTS)
    assert scores[1] == 0.0
    assert scores[0] > 0.0
    assert (reward.tally.verdicts, reward.tally.invalid) == (1, 1)
    with pytest.raises(NoVerdict, match="no verdict on 1 of 2 pictures"):
        CaptionRecall(Says("a red star", ""), texts, silent_score=None)(images(), PROMPTS)


def test_qwen_is_asked_the_papers_question_about_the_picture_and_not_the_prompt(qwen, texts, monkeypatch):
    model = QwenJudge.from_pretrained(qwen, max_new_tokens=64)
    reward = CaptionRecall(QwenCaptioner(model), texts)
    written, asked = ["a red star<|im_end|>", "The image contains two"], {}

    def generate(**inputs):
        asked.update(inputs)
        rows = model.tokenizer(written, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
        return torch.cat([inputs["input_ids"], rows], dim=1)

    monkeypatch.setattr(model.model, "generate", generate)
    scores = reward(images(), PROMPTS)
    assert scores.tolist() == pytest.approx(expected(texts, ["a red star", "The image contains two"]))
    assert (asked["do_sample"], asked["max_new_tokens"]) == (False, 64)
    read = model.tokenizer.decode(asked["input_ids"][1])
    assert read.endswith(f"<|vision_end|>{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
    assert "blue" not in read


def test_a_local_captioner_really_writes_and_keeps_the_contract(qwen, encoder):
    reward = load_caption_recall(captioner=qwen, encoder=encoder, layer=LAYER)
    assert reward.captioner.model.max_new_tokens == 64
    reward.captioner.model.max_new_tokens = 3
    captions = reward.captioner(images())
    assert len(captions) == 2
    assert any(captions)
    check_reward(reward)
    scores = reward(images().requires_grad_(), PROMPTS)
    assert not scores.requires_grad


def test_a_server_is_asked_the_same(texts):
    with running([answer("a red star"), answer("a ring")]) as server:
        scores = served(server, texts, at_once=1)(images(), PROMPTS)
        body = server.asked[0][2]
    assert scores.tolist() == pytest.approx(expected(texts, ["a red star", "a ring"]))
    picture, text = body["messages"][0]["content"]
    assert text["text"] == QUESTION
    assert base64.b64decode(picture["image_url"]["url"].partition(",")[2]).startswith(b"\x89PNG")
    assert (body["temperature"], body["max_tokens"]) == (0.0, 64)
    assert "logprobs" not in body


def test_a_served_captioner_keeps_the_contract(texts):
    def looks(body):
        picture = base64.b64decode(body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2])
        return answer(("a red star", "two circle", "a ring", "what is this")[len(picture) % 4])

    with running(looks) as server:
        check_reward(served(server, texts))


@pytest.mark.parametrize(
    "bad",
    [
        failing(500),
        failing(429, {"Retry-After": "0"}),
        (200, b"{not json", {}),
        lambda handler: handler.connection.close(),
    ],
    ids=["500", "429", "broken", "hangs up"],
)
def test_a_server_that_fails_once_is_asked_again(texts, bad):
    with running([bad, answer("a red star")]) as server:
        scores = served(server, texts)(images(1), PROMPTS[:1])
        assert len(server.asked) == 2
    assert scores.tolist() == pytest.approx(expected(texts, ["a red star"], PROMPTS[:1]))


def test_a_server_that_says_nothing_is_asked_once_more_and_in_another_way(texts):
    with running([answer(""), answer(" a ring ")]) as server:
        scores = served(server, texts)(images(1), PROMPTS[:1])
        assert [body["temperature"] for _, _, body in server.asked] == [0.0, 1.0]
    assert scores.tolist() == pytest.approx(expected(texts, ["a ring"], PROMPTS[:1]))
    with running([answer("")]) as server:
        reward = served(server, texts)
        assert reward(images(1), PROMPTS[:1]).tolist() == [0.0]
        assert len(server.asked) == 2
    assert reward.tally.invalid == 1


def test_a_server_that_only_fails_ends_with_one_sentence(texts):
    with running([failing(500)]) as server, pytest.raises(ServerFailed, match=r"failed 3 times.*status 500"):
        served(server, texts, at_once=1)(images(), PROMPTS)
    with running([failing(404)]) as server, pytest.raises(RefusedRequest, match="no model 'a-captioner'"):
        served(server, texts)(images(1), PROMPTS[:1])
    with pytest.raises(ServerFailed, match="failed 3 times"):
        served("http://127.0.0.1:9/v1", texts)(images(1), PROMPTS[:1])


@pytest.mark.parametrize("choices", [{"at_once": 0}, {"reasks": -1}])
def test_settings_that_mean_nothing_are_refused(texts, choices):
    with pytest.raises(BadConfig, match="a captioner needs"):
        served("http://127.0.0.1:9/v1", texts, **choices)


def test_what_is_kept_on_disk_knows_whose_captions_they_were(texts):
    one, other = (served(url, texts) for url in ("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"))
    assert isinstance(one, Identified)
    assert one.identity != other.identity


def test_the_row_names_its_server_through_the_environment(encoder, texts, monkeypatch):
    with running([answer("a red star")]) as server:
        monkeypatch.setenv("PLAUDIT_JUDGE_URL", server.url)
        monkeypatch.setenv("PLAUDIT_JUDGE_MODEL", "llava:13b")
        reward = load_http_caption_recall(encoder=encoder, layer=LAYER)
        assert reward(images(1), PROMPTS[:1]).tolist() == pytest.approx(expected(texts, ["a red star"], PROMPTS[:1]))
        assert server.asked[0][2]["model"] == "llava:13b"
    monkeypatch.delenv("PLAUDIT_JUDGE_URL")
    with pytest.raises(BadConfig, match="environment variable PLAUDIT_JUDGE_URL"):
        load_http_caption_recall(encoder=encoder, layer=LAYER)


@pytest.mark.parametrize("entry", CAPTIONS, ids=lambda entry: entry.name)
def test_a_row_is_in_the_table_with_pinned_commits(entry):
    assert REWARDS.find(entry.name) is entry
    assert callable(entry.resolve())
    assert all(re.fullmatch("[0-9a-f]{40}", files.revision) for files in entry.needs)
    assert (entry.hub_id, entry.revision) in {(files.hub_id, files.revision) for files in entry.needs}
    pickles = [name for files in entry.needs for name in files.patterns if name.endswith((".bin", ".pt", ".pth"))]
    assert bool(pickles) == ("pickle" in entry.facts["weights"])
    assert not entry.facts["differentiable"]
    assert "no gradient" in entry.summary


@pytest.mark.parametrize("entry", CAPTIONS, ids=lambda entry: entry.name)
def test_a_row_whose_weights_are_absent_says_how_to_get_them(entry, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OutOfReach, match=re.escape(f"plaudit fetch {entry.name}")):
        load_reward(entry.name)
