"""pocket-vqa's lessons: the published format, questions about any picture a generator may draw, learned and resumed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plaudit.pocket.build import recipe, vqa
from plaudit.pocket.build.clip import Pictures
from plaudit.pocket.build.image_reward import new_bert_tokenizer, new_image_reward
from plaudit.pocket.build.install import install
from plaudit.pocket.build.loop import Plan, draws_for
from plaudit.pocket.build.pictures import normalised
from plaudit.pocket.questions import ANSWERS, SHORT, YES_OR_NO, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import draw_scene, scene_is_held_out
from plaudit.rewards.vqa_score import BlipVqa

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def tokenizer():
    return vqa.new_question_tokenizer()


def new(tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vqa.new_vqa(tokenizer)


def asked_about(count, kinds=(*YES_OR_NO, *SHORT)):
    rng = draws_for("test-vqa", 0).numpy
    scenes = [draw_scene(rng) for _ in range(count)]
    return scenes, [[draw_question(scene, rng, kind=kind) for kind in kinds] for scene in scenes]


def test_the_tokenizer_knows_every_word_of_questions_and_answers(tokenizer):
    _, asked = asked_about(300)
    for question in (question for many in asked for question in many):
        assert tokenizer.unk_token_id not in tokenizer(question.text)["input_ids"]
        assert not any("##" in piece for piece in tokenizer.tokenize(question.text)), question.text
    assert all(len(tokenizer.tokenize(answer)) == 1 for answer in ANSWERS)
    assert "##" in " ".join(tokenizer.tokenize("elephant")), "other words are spelt"


def test_it_is_small(tokenizer):
    assert sum(parameter.numel() for parameter in new(tokenizer).parameters()) <= 1_300_000


def test_training_reads_exactly_as_the_judge_does(tokenizer, tmp_path: Path):
    """Questions of all lengths beside each other, several about a picture: the padding must change nothing."""
    model = new(tokenizer).eval()
    scenes, asked = asked_about(3)
    images = render(scenes)
    texts = [question.text for many in asked for question in many]
    assert len({len(tokenizer.tokenize(text)) for text in texts}) > 2
    ids = [torch.tensor(vqa.question_ids(model, tokenizer, text)) for text in texts]
    words = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=vqa.PADDING)
    said = torch.tensor(tokenizer(["yes"] * len(texts), add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        seen = model.vision_model(pixel_values=normalised(images)).last_hidden_state
        together = vqa.answered(model, words, seen, said)
        vqa.save_vqa(model, tokenizer, tmp_path, dtype=torch.float32)
        reward = BlipVqa.from_pretrained(tmp_path)
        for row, text in enumerate(texts):
            alone = reward._see(images[row // len(asked[0])][None])
            question = torch.tensor([reward._ids(text)])
            torch.testing.assert_close(together[row, 0], reward._read(alone, question)[0], rtol=1e-4, atol=1e-4)
            after = reward._read(alone, question, said[row].tolist())[0]
            torch.testing.assert_close(together[row, 1], after, rtol=1e-4, atol=1e-4)


def test_the_loss_is_of_the_answers_and_their_ends(tokenizer):
    model = new(tokenizer)
    scenes, asked = asked_about(2, kinds=("count", "which shape"))
    seen = model.vision_model(pixel_values=normalised(render(scenes))).last_hidden_state
    loss, right = vqa.answer_loss(model, tokenizer, seen, asked)
    found = 0.0
    for row, question in enumerate(question for many in asked for question in many):
        ids = torch.tensor([vqa.question_ids(model, tokenizer, question.text)])
        said = torch.tensor(tokenizer([question.answer], add_special_tokens=False)["input_ids"])
        logits = vqa.answered(model, ids, seen[row // 2][None], said)[0].log_softmax(-1).detach()
        found -= float(logits[0, said[0, 0]] + 0.1 * logits[1, tokenizer.sep_token_id]) / 4
    assert float(loss.detach()) == pytest.approx(found, rel=1e-4)
    assert 0 <= float(right) <= 1
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (*model.text_encoder.encoder.parameters(),))


def test_it_starts_from_a_tower_that_sees(tokenizer):
    model = new(tokenizer)
    tower = new_image_reward(new_bert_tokenizer()).visual_encoder
    vqa.start_seeing(model, tower.state_dict())
    last = vqa.IMAGE_LAYERS - 1
    torch.testing.assert_close(
        model.vision_model.encoder.layers[last].mlp.fc1.weight, tower.encoder.layers[last].mlp.fc1.weight
    )
    torch.testing.assert_close(model.vision_model.embeddings.position_embedding, tower.embeddings.position_embedding)


def test_training_scenes_are_varied_and_never_held_out():
    rng = draws_for("test-varied", 0).numpy
    scenes = [vqa.varied_scene(rng) for _ in range(600)]
    assert not any(scene_is_held_out(scene) for scene in scenes)
    kinds = [len({(t.shape, t.colour) for t in scene.things}) for scene in scenes]
    assert {1, 2, 3, 4} <= set(kinds)
    assert {1, 2, 3, 4} <= {len(scene.things) for scene in scenes}


def small_pictures():
    rng = draws_for("test-pictures", 0).numpy
    scenes = [draw_scene(rng) for _ in range(16)]
    return Pictures(scenes, (render(scenes) * 255).round().byte(), torch.device("cpu"))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(vqa, "IMAGE_LAYERS", 1)
    monkeypatch.setattr(vqa, "TEXT_LAYERS", 1)


def last_of(steps):
    return list(steps)[-1]


@pytest.mark.usefixtures("quick")
def test_answers_that_never_change_are_soon_learned(tokenizer, tmp_path: Path, monkeypatch):
    def of_one_kind(scene, rng):
        return replace(draw_question(scene, rng, kind="background"), answer="yes")

    monkeypatch.setattr(vqa, "draw_question", of_one_kind)
    plan = Plan(steps=30, batch=4, lr=3e-3, warmup=2, ema=0.5)
    found = last_of(vqa.train_vqa(new(tokenizer), tokenizer, small_pictures(), tmp_path / "state", plan=plan))
    assert found.parts["right"] == 1
    assert found.parts["answers"] < 1


@pytest.mark.usefixtures("quick")
def test_a_stopped_lesson_goes_on_as_if_it_had_not_been(tokenizer, tmp_path: Path):
    plan = Plan(steps=4, batch=4, lr=1e-3, warmup=1, ema=0.5)

    def trained(state):
        model = new(tokenizer)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            list(vqa.train_vqa(model, tokenizer, small_pictures(), state, plan=plan))
        return model.state_dict()

    class Stopped(Exception):
        pass

    whole, calls, real = trained(tmp_path / "whole"), [], vqa.draw_asked

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Stopped
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vqa, "draw_asked", stopping)
        patch.setattr("plaudit.pocket.build.loop.SAVE_EVERY", 0.0)
        with pytest.raises(Stopped):
            trained(tmp_path / "half")
    resumed = trained(tmp_path / "half")
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0, msg=name)


def test_what_is_built_is_installed_in_half_precision_and_loads(tokenizer, tmp_path: Path):
    built = tmp_path / "built"
    vqa.save_vqa(new(tokenizer), tokenizer, built / "vqa", dtype=torch.float16)
    folder = install("pocket-vqa", built, root=tmp_path / "weights")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 2.75 * MEBIBYTE
    reward = BlipVqa.from_pretrained(folder)
    assert reward.say(torch.rand(1, 3, 64, 64), ["is there a ring?"])


@pytest.mark.parametrize("own_tower", [True, False])
def test_a_build_starts_from_the_tower_at_hand_and_leaves_what_can_be_installed(tmp_path: Path, monkeypatch, own_tower):
    words = new_bert_tokenizer()
    seer = tmp_path / "built" / "imagereward" if own_tower else tmp_path / "shipped" / "pocket-imagereward"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        tower = new_image_reward(words)
    tower.save_pretrained(seer)
    started = []

    def train_vqa(model, tokenizer, pictures, state):
        started.append(model.vision_model.encoder.layers[0].mlp.fc1.weight.clone())
        plan = Plan(steps=2, batch=4, lr=1e-3, warmup=1, ema=0.5)
        return real(model, tokenizer, pictures, state, plan=plan)

    real = vqa.train_vqa
    monkeypatch.setattr(vqa, "train_vqa", train_vqa)
    monkeypatch.setattr(recipe, "WEIGHTS", tmp_path / "shipped")
    monkeypatch.setattr(recipe.Recipe, "pictures", lambda _: iter(()))
    monkeypatch.setattr(recipe.Recipe, "_pictures", lambda *_: small_pictures())
    reports = list(recipe.build(["pocket-vqa"], tmp_path / "built", device=torch.device("cpu")))
    assert (reports[-1].done, reports[-1].total) == (2, 2)
    torch.testing.assert_close(started[0], tower.visual_encoder.encoder.layers[0].mlp.fc1.weight)
    folder = install("pocket-vqa", tmp_path / "built", root=tmp_path / "weights")
    assert 0 <= float(BlipVqa.from_pretrained(folder).yes(torch.rand(1, 3, 64, 64), ["is there a ring?"])) <= 1
