import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_judges import save_blip

from plaudit.core.errors import BadConfig
from plaudit.rewards.check import check_reward
from plaudit.rewards.noun_phrases import noun_phrases
from plaudit.rewards.table import load_reward
from plaudit.rewards.vqa_score import BlipVqa, clean_question

PROMPTS = ["a red star and a blue ring", "two circle"]
HEADS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_blip(tmp_path_factory.mktemp("blip"))


def images(size=16, *, seed=0):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


class ByHand:
    """BLIP's answer from the file's tensors alone, read after the paper and its code's layout, in float64."""

    def __init__(self, folder):
        self.weights = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.words = {word: index for index, word in enumerate((folder / "vocab.txt").read_text().split("\n"))}
        self.start = json.loads((folder / "config.json").read_text())["text_config"]["bos_token_id"]

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x, eps):
        centred = x - x.mean(-1, keepdim=True)
        spread = (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        return centred / spread * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attend(self, query, key, value):
        split = [x.unflatten(-1, (HEADS, -1)).transpose(0, 1) for x in (query, key, value)]
        scores = split[0] @ split[1].transpose(-1, -2) / split[0].shape[-1] ** 0.5
        return (scores.softmax(-1) @ split[2]).transpose(0, 1).flatten(-2)

    def see(self, pixels):
        """(3, 16, 16) normalised pixels to tokens."""
        at = "vision_model.embeddings"
        patches = F.conv2d(
            pixels[None],
            self.weights[f"{at}.patch_embedding.weight"],
            self.weights[f"{at}.patch_embedding.bias"],
            stride=8,
        )
        tokens = torch.cat([self.weights[f"{at}.class_embedding"][0], patches[0].flatten(1).T])
        x = tokens + self.weights[f"{at}.position_embedding"][0]
        for layer in ("vision_model.encoder.layers.0", "vision_model.encoder.layers.1"):
            parts = self.linear(f"{layer}.self_attn.qkv", self.norm(f"{layer}.layer_norm1", x, 1e-5)).chunk(3, dim=-1)
            x = x + self.linear(f"{layer}.self_attn.projection", self.attend(*parts))
            hidden = F.gelu(self.linear(f"{layer}.mlp.fc1", self.norm(f"{layer}.layer_norm2", x, 1e-5)))
            x = x + self.linear(f"{layer}.mlp.fc2", hidden)
        return self.norm("vision_model.post_layernorm", x, 1e-5)

    def bert(self, at, ids, other):
        """Tokens that look at each other, then at `other`, in two layers normalised after each part."""
        x = self.weights[f"{at}.embeddings.word_embeddings.weight"][ids]
        x = x + self.weights[f"{at}.embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(f"{at}.embeddings.LayerNorm", x, 1e-12)
        for layer in (f"{at}.encoder.layer.0", f"{at}.encoder.layer.1"):
            for part, seen in (("attention", None), ("crossattention", other)):
                seen = x if seen is None else seen
                own = f"{layer}.{part}.self"
                context = self.attend(
                    self.linear(f"{own}.query", x), self.linear(f"{own}.key", seen), self.linear(f"{own}.value", seen)
                )
                x = self.norm(
                    f"{layer}.{part}.output.LayerNorm", self.linear(f"{layer}.{part}.output.dense", context) + x, 1e-12
                )
            hidden = F.gelu(self.linear(f"{layer}.intermediate.dense", x))
            x = self.norm(f"{layer}.output.LayerNorm", self.linear(f"{layer}.output.dense", hidden) + x, 1e-12)
        return x

    def answer(self, pixels, question):
        """Probabilities of the answer's first token. `question` is a list of whole words."""
        encode = self.start + 1
        ids = torch.tensor([encode, *(self.words[word] for word in question), self.words["[SEP]"]])
        read = self.bert("text_encoder", ids, self.see(pixels))
        state = self.bert("text_decoder.bert", torch.tensor([self.start]), read)
        head = "text_decoder.cls.predictions"
        state = self.norm(f"{head}.transform.LayerNorm", F.gelu(self.linear(f"{head}.transform.dense", state)), 1e-12)
        tied = self.weights["text_decoder.bert.embeddings.word_embeddings.weight"]
        return (state[0] @ tied.T + self.weights[f"{head}.bias"]).softmax(-1)


def normalised(picture):
    mean, std = torch.tensor([0.4, 0.5, 0.6]).double(), torch.tensor([0.2, 0.3, 0.25]).double()
    return (picture.double() - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def test_blip_vqa_is_the_published_formula_on_the_same_weights(folder):
    hand, pictures = ByHand(folder), images()
    yes, no = hand.words["yes"], hand.words["no"]
    expected = []
    for picture, phrases in zip(pictures, (["a red star ?", "a blue ring ?"], ["two circle ?"]), strict=True):
        product = torch.tensor(1.0).double()
        for phrase in phrases:
            said = hand.answer(normalised(picture), phrase.split())
            product = product * said[yes] / (said[yes] + said[no])
        expected.append(product)
    scores = BlipVqa.from_pretrained(folder)(pictures, PROMPTS)
    torch.testing.assert_close(scores.double(), torch.stack(expected), rtol=1e-4, atol=0)


def test_vqascore_is_the_published_formula_on_the_same_weights(folder):
    hand, pictures = ByHand(folder), images()
    expected = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        question = f"does this figure show {prompt} ? please answer yes or no".split()
        expected.append(hand.answer(normalised(picture), question)[hand.words["yes"]])
    scores = BlipVqa.from_pretrained(folder, protocol="vqascore")(pictures, PROMPTS)
    torch.testing.assert_close(scores.double(), torch.stack(expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize("protocol", ["blip-vqa", "vqascore"])
def test_it_keeps_the_contract(folder, protocol):
    check_reward(BlipVqa.from_pretrained(folder, protocol=protocol))


@pytest.mark.parametrize("protocol", ["blip-vqa", "vqascore"])
def test_its_gradient_is_that_of_finite_differences(folder, protocol):
    reward = BlipVqa.from_pretrained(folder, protocol=protocol)
    pictures = (images(20) * 0.5 + 0.25).requires_grad_()
    gradient = torch.autograd.grad(reward(pictures, PROMPTS).sum(), pictures)[0]
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(4)) + 5 * gradient.sign()
    step = 1e-4
    with torch.no_grad():
        ahead = reward(pictures + step * direction, PROMPTS).double().sum()
        behind = reward(pictures - step * direction, PROMPTS).double().sum()
    expected = float((ahead - behind) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-2)


def test_checkpointing_changes_no_gradient(folder):
    found = []
    for checkpointing in (False, True):
        reward = BlipVqa.from_pretrained(folder, checkpointing=checkpointing)
        pictures = images().requires_grad_()
        found.append(torch.autograd.grad(reward(pictures, PROMPTS).sum(), pictures)[0])
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[0], found[1])


def test_questions_of_any_length_stand_side_by_side(folder):
    reward = BlipVqa.from_pretrained(folder)
    prompts = ["a red star and two circle of three green ring", "a ring"]
    together = reward(images(), prompts)
    alone = torch.cat([reward(images()[row : row + 1], prompts[row : row + 1]) for row in (0, 1)])
    torch.testing.assert_close(together, alone)


def test_a_wide_picture_is_squeezed_not_cropped(folder):
    reward = BlipVqa.from_pretrained(folder)
    wide = torch.rand(1, 3, 16, 48)
    edge = wide.clone()
    edge[..., :4] = 0
    assert reward(wide, PROMPTS[:1]) != reward(edge, PROMPTS[:1])


def test_a_prompt_is_tokenised_once(folder):
    reward = BlipVqa.from_pretrained(folder)
    before = reward(images(), PROMPTS)
    reward.tokenizer = None
    assert torch.equal(reward(images(), PROMPTS), before)
    reward.forget_prompts()
    with pytest.raises(TypeError):
        reward(images(), PROMPTS)


def test_a_folder_of_the_format_is_a_reward_without_further_words(folder):
    assert isinstance(load_reward(str(folder)), BlipVqa)


def test_weights_that_lack_a_part_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["text_encoder.spare"] = weights.pop("vision_model.post_layernorm.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadConfig, match=r"1 missing \['vision_model.post_layernorm.weight'\], 1 unknown"):
        BlipVqa.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        (("config.json",), "is no BLIP that answers questions"),
        (("model.safetensors",), "has no model.safetensors"),
        (("vocab.txt", "tokenizer.json"), "has no tokenizer"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder, tmp_path, gone, sentence):
    for file in folder.iterdir():
        if file.name not in gone:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadConfig, match=sentence):
        BlipVqa.from_pretrained(tmp_path)


def test_an_unknown_protocol_is_refused(folder):
    with pytest.raises(BadConfig, match="no protocol 'guess'"):
        BlipVqa.from_pretrained(folder, protocol="guess")


def test_a_question_is_cleaned_as_in_training():
    assert clean_question('Does this figure show "A (red) Star!"? Please answer yes or no.') == (
        "does this figure show a red star? please answer yes or no"
    )
    assert len(clean_question("word " * 80).split()) == 50


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a green lamp and a woollen hat", ["a green lamp", "a woollen hat"]),
        ("a photo of two lanterns", ["two lanterns"]),
        ("a lantern on the right side of a ladder", ["a lantern", "a ladder"]),
        ("the small dog on the left of a big tree", ["the small dog", "a big tree"]),
        ("a man riding a brown horse, wooden fence behind", ["a man", "a brown horse", "wooden fence"]),
        ("a flying bird over a stone building", ["a flying bird", "a stone building"]),
        ("three blue stars", ["three blue stars"]),
        # A word in -ing that describes or names a thing
        ("a triangular folding table and a round stool", ["a triangular folding table", "a round stool"]),
        ("a burgundy dining table", ["a burgundy dining table"]),
        ("a crooked sapling beside a metal frying pan", ["a crooked sapling", "a metal frying pan"]),
        ("an oblong dumpling", ["an oblong dumpling"]),
        ("a slowly turning wheel", ["a slowly turning wheel"]),
        ("a smooth, towering lighthouse", ["a smooth towering lighthouse"]),
        # and one that is a verb
        ("a heron eating small frogs", ["a heron", "small frogs"]),
        ("a heron sleeping on a raft", ["a heron", "a raft"]),
        ("a nurse is carefully watering a fern", ["a nurse", "a fern"]),
        ("an orange wearing a scarf", ["an orange", "a scarf"]),
        # "Stand" and the like
        ("an oval umbrella stand", ["an oval umbrella stand"]),
        ("a lamp and a conical umbrella stand", ["a lamp", "a conical umbrella stand"]),
        ("the umbrella stand is next to two plant stands", ["the umbrella stand", "two plant stands"]),
        ("a goat and a hen stand on a barrel", ["a goat", "a hen", "a barrel"]),
        ("two goats stand near a farmer who holds a lamb", ["two goats", "a farmer", "a lamb"]),
        # Adjectives of one thing
        ("The warm, heavy coat hung on a nail", ["The warm heavy coat hung", "a nail"]),
        ("a brown and white goat", ["a brown and white goat"]),
        ("red, green and blue kites", ["red green and blue kites"]),
        ("a goat, a hen and a barrel", ["a goat", "a hen", "a barrel"]),
        # Adjectives of nothing
        ("the barn is striped and the sky is grey", ["the barn", "the sky"]),
        ("a harbour, foggy, at night", ["a harbour", "night"]),
        ("a goldfish in a dish, a polished, a weed", ["a goldfish", "a dish", "a weed"]),
        ("all is bright", ["all"]),
        ("foggy and cold", ["foggy and cold"]),
        ("on top of", ["on top of"]),
        ("", [""]),
    ],
)
def test_noun_phrases_are_the_things_a_prompt_names(prompt, phrases):
    assert noun_phrases(prompt) == phrases
