"""pocket-vqa as a reward: each requirement is asked for, and protocols total the answers."""

import pytest
import torch

from plaudit.core.errors import BadConfig
from plaudit.pocket import folders, vqa_judge
from plaudit.pocket.build import vqa
from plaudit.pocket.build.pictures import normalised
from plaudit.pocket.questions import requirements
from plaudit.pocket.vqa_judge import PROTOCOLS, load_pocket_vqa
from plaudit.rewards.check import check_reward
from plaudit.rewards.table import REWARDS, load_reward
from plaudit.rewards.vqa_score import BlipVqa

PROMPT = "a red ring left of a green square"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained model in the published layout, with answers that are not all alike."""
    folder = tmp_path_factory.mktemp("vqa")
    tokenizer = vqa.new_question_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = vqa.new_vqa(tokenizer)
        for parameter in model.parameters():
            parameter.data += 0.08 * torch.randn(parameter.shape)
    vqa.save_vqa(model, tokenizer, folder, dtype=torch.float32)
    return folder


@pytest.fixture(autouse=True)
def _built(folder, monkeypatch):
    monkeypatch.setattr(vqa_judge, "pocket_folder", lambda _: folder)


def images(count, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["pocket-vqa", "vqa", "pocket-vqa-product", "pocket-vqa-hard"])
def test_every_row_keeps_the_contract(name):
    reward = load_reward(name)
    check_reward(reward, name=name)
    assert reward.differentiable == REWARDS.find(name).facts["differentiable"]


def test_protocols_total_the_answers_to_the_requirements():
    questions = requirements(PROMPT)
    assert len(questions) == 5
    picture = images(1)
    answers = load_pocket_vqa().yes(picture.expand(5, -1, -1, -1), questions)
    assert answers.std() > 1e-3
    expected = {"fraction": answers.mean(), "product": answers.prod(), "hard": (answers > 0.5).all().float()}
    for protocol, value in expected.items():
        torch.testing.assert_close(load_pocket_vqa(protocol=protocol)(picture, [PROMPT])[0], value)


def test_hard_is_one_only_if_all_answers_are_yes(monkeypatch):
    reward = load_pocket_vqa(protocol="hard")
    for answers, total in (([0.9, 0.51], 1.0), ([0.9, 0.49], 0.0), ([0.5, 0.9], 0.0)):
        monkeypatch.setattr(reward, "_answer", lambda *_, answers=answers: torch.tensor(answers))
        monkeypatch.setattr(reward, "_ids", lambda _: [1])
        reward.forget_prompts()
        assert float(reward(images(1), ["a red ring"])[0]) == total
    assert set(PROTOCOLS) == {"fraction", "product", "hard"}


def test_it_says_answers_as_the_model_library_does(folder):
    from transformers import BertTokenizer, BlipForQuestionAnswering

    reward = BlipVqa.from_pretrained(folder)
    library = BlipForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = BertTokenizer.from_pretrained(folder)
    asked = ["how many red stars are there?", "is there a ring?", "what colour is the background?"]
    pictures = images(3)
    said = reward.say(pictures, asked, max_tokens=4)
    for row, question in enumerate(asked):
        ids = torch.tensor([vqa.question_ids(library, tokenizer, question)])
        found = library.generate(ids, normalised(pictures[row][None]), max_new_tokens=4, do_sample=False)
        assert said[row] == tokenizer.decode(found[0], skip_special_tokens=True).strip()


def test_what_cannot_be_asked_is_told_in_a_sentence():
    with pytest.raises(BadConfig, match="'a fox' is not about the pocket world"):
        load_pocket_vqa()(images(1), ["a fox"])
    with pytest.raises(BadConfig, match="no protocol 'soft' for pocket-vqa; there are fraction, product, hard"):
        load_pocket_vqa(protocol="soft")


def test_what_is_not_built_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(folders, "WEIGHTS", tmp_path)
    with pytest.raises(BadConfig, match="plaudit pocket build pocket-vqa"):
        load_pocket_vqa()
