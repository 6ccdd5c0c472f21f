import math
import sys
import types

import pytest
import torch
from tiny_token_models import (
    CLASSES,
    CODE_DIM,
    GRID,
    IMAGE_SIZE,
    LAYERS,
    VOCABULARY,
    attention,
    conv,
    down,
    out,
    resnet,
    up,
    vqgan_weights,
)

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.generators.mini_gpt import GptSizes, MiniGPT
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import draw_tokens, score_tokens, uniforms_for
from plaudit.generators.vqgan import VQGAN, load_published_vqgan, load_vqgan, save_vqgan

T, HEADS = GRID * GRID, 2


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"epoch": 3, "state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


@pytest.fixture
def policy(checkpoint):
    return load_published_vqgan(checkpoint, classes=CLASSES)


def some_tokens(count=3):
    return torch.randint(VOCABULARY, (count, T), generator=torch.Generator().manual_seed(2))


def plain_logits(w, label, tokens):
    """One row's logits (T, V), float64, place by place: the class is the sequence's first token."""
    w = {name.removeprefix("transformer."): weight.double() for name, weight in w.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, rows):
        found = []
        for row in rows:
            centred = row - row.mean()
            found.append(centred / math.sqrt(float((centred * centred).mean()) + 1e-5))
        return torch.stack(found) * w[f"{name}.weight"] + w[f"{name}.bias"]

    sequence = torch.cat([torch.tensor([label]), tokens[:-1]])
    x = torch.stack([w["tok_emb.weight"][token] + w["pos_emb"][0, place] for place, token in enumerate(sequence)])
    for layer in range(LAYERS):
        name, width = f"blocks.{layer}", x.shape[1] // HEADS
        read, seen = norm(f"{name}.ln1", x), torch.zeros_like(x)
        query, key, value = (linear(f"{name}.attn.{part}", read) for part in ("query", "key", "value"))
        for head in range(HEADS):
            here = slice(head * width, (head + 1) * width)
            for place in range(len(x)):
                scores = key[: place + 1, here] @ query[place, here] / math.sqrt(width)
                seen[place, here] = scores.softmax(0) @ value[: place + 1, here]
        x = x + linear(f"{name}.attn.proj", seen)
        inside = linear(f"{name}.mlp.0", norm(f"{name}.ln2", x))
        x = x + linear(f"{name}.mlp.2", inside * 0.5 * (1 + torch.erf(inside / math.sqrt(2))))
    return norm("ln_f", x) @ w["head.weight"].T


def test_a_class_and_tokens_have_the_logits_of_the_published_maths(policy):
    tokens = some_tokens()
    with torch.no_grad():
        found = policy.logits(policy.hidden(tokens, policy.encode(["0", "3", "4"])))
    for row, label in enumerate((0, 3, 4)):
        assert torch.allclose(found[row].double(), plain_logits(vqgan_weights(), label, tokens[row]), atol=1e-5)
    assert found.std() > 0.1


def test_images_are_the_published_decoders_and_tokens_its_nearest_codes(policy):
    prefix = "first_stage_model."
    w = {name[len(prefix) :]: weight for name, weight in vqgan_weights().items() if name.startswith(prefix)}
    tokens = some_tokens(2)
    latents = w["quantize.embedding.weight"][tokens].reshape(2, GRID, GRID, CODE_DIM).permute(0, 3, 1, 2)
    x = conv(w, "decoder.conv_in", conv(w, "post_quant_conv", latents), padding=1)
    x = resnet(w, "decoder.mid.block_1", x)
    x = resnet(w, "decoder.mid.block_2", attention(w, "decoder.mid.attn_1", x))
    for number in range(2):
        x = resnet(w, f"decoder.up.1.block.{number}", x)
        x = attention(w, f"decoder.up.1.attn.{number}", x)
    x = up(w, "decoder.up.1.upsample.conv", x)
    for number in range(2):
        x = resnet(w, f"decoder.up.0.block.{number}", x)
    expected = (out(w, "decoder", x) / 2 + 0.5).clamp(0, 1)
    with torch.no_grad():
        images = policy.decode(tokens)
        assert torch.allclose(images, expected, atol=1e-5)
        assert images.shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
        found = policy.image_tokenizer.encode(images)
    x = conv(w, "encoder.conv_in", images * 2 - 1, padding=1)
    x = down(w, "encoder.down.0.downsample.conv", resnet(w, "encoder.down.0.block.0", x))
    x = attention(w, "encoder.down.1.attn.0", resnet(w, "encoder.down.1.block.0", x))
    x = resnet(w, "encoder.mid.block_1", x)
    x = resnet(w, "encoder.mid.block_2", attention(w, "encoder.mid.attn_1", x))
    x = conv(w, "quant_conv", out(w, "encoder", x))
    rows = x.permute(0, 2, 3, 1).reshape(-1, CODE_DIM)
    nearest = (rows[:, None] - w["quantize.embedding.weight"][None]).square().sum(-1).argmin(1)
    assert torch.equal(found, nearest.reshape(2, T))
    assert len(nearest.unique()) > 2


def test_it_keeps_the_contract_of_token_policies(policy):
    assert isinstance(policy, TokenPolicy)
    assert (policy.num_tokens, policy.vocabulary, policy.image_size) == (T, VOCABULARY, IMAGE_SIZE)


def test_reading_tokens_one_by_one_on_the_cache_finds_the_states_of_reading_all_at_once(policy):
    tokens, condition = some_tokens(), policy.encode(["0", "3", "4"])
    with torch.no_grad():
        together = policy.hidden(tokens, condition)
        reading = policy.begin(condition)
        for place in range(T - 1):
            assert torch.allclose(reading.hidden, together[:, place], atol=1e-4)
            reading.read(tokens[:, place])
        assert torch.allclose(reading.hidden, together[:, -1], atol=1e-4)


def test_drawn_tokens_are_as_likely_when_they_are_scored(policy):
    condition, keys = policy.encode(["1", "2"]), [("image", row) for row in range(2)]
    sampling = Sampling(temperature=0.8, top_p=0.9)
    drawn = draw_tokens(policy, condition, uniforms_for(keys, T), sampling)
    with torch.no_grad():
        scored = score_tokens(policy, drawn.tokens, condition, sampling=sampling)
    assert torch.allclose(drawn.log_probs, scored.log_probs, atol=1e-4)


def test_a_row_does_not_depend_on_its_batch(policy):
    tokens, condition = some_tokens(), policy.encode(["0", "3", "4"])
    with torch.no_grad():
        together = policy.hidden(tokens, condition)
        assert torch.allclose(policy.hidden(tokens[1:2], condition[1:2]), together[1:2], atol=1e-5)


def test_gradients_reach_the_transformer_alone_and_only_if_it_is_trained(policy):
    condition, tokens = policy.encode(["0", "3", "4"]), some_tokens()
    assert not policy.hidden(tokens, condition).requires_grad
    policy.transformer.requires_grad_(True)
    found, runs = [], []
    policy.transformer.blocks[0].register_forward_pre_hook(lambda *_: runs.append(policy.transformer.checkpointing))
    for enabled in (False, True):
        policy.use_checkpointing(enabled)
        policy.transformer.zero_grad()
        policy.logits(policy.hidden(tokens, condition)).square().sum().backward()
        found.append(policy.transformer.blocks[0].attn.key.weight.grad.clone())
    assert torch.allclose(*found, atol=1e-4)
    assert runs == [False, True, True]
    without = [name for name, weight in policy.transformer.named_parameters() if not weight.grad.abs().sum() > 0]
    assert without == []
    assert all(weight.grad is None for weight in policy.image_tokenizer.parameters())


def test_it_cannot_be_guided_and_says_so(policy):
    with pytest.raises(BadConfig, match="draws without guidance"):
        draw_tokens(policy, policy.encode(["0"]), uniforms_for([("a",)], T), Sampling(guidance=2.0))


def test_a_class_that_there_is_not_is_refused(policy):
    with pytest.raises(UnknownName, match="no class 5; this model knows the classes 0 to 4"):
        policy.encode(["5"])


def test_the_published_transformer_has_its_published_number_of_parameters():
    with torch.device("meta"):
        found = sum(weight.numel() for weight in MiniGPT(GptSizes()).parameters()) / 1e9
    assert found == pytest.approx(1.4, abs=0.05)


def test_a_checkpoint_with_a_trainings_callbacks_is_read_without_its_program(tmp_path, monkeypatch):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    exec("class ModelCheckpoint:\n    pass", module.__dict__)
    module.ModelCheckpoint.__module__ = name
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
        there.setitem(sys.modules, "pytorch_lightning.callbacks", types.ModuleType("pytorch_lightning.callbacks"))
        there.setitem(sys.modules, name, module)
        kept = {module.ModelCheckpoint: {"best_model_score": torch.tensor(1.0)}}
        torch.save({"callbacks": kept, "state_dict": vqgan_weights()}, tmp_path / "last.ckpt")
    assert name not in sys.modules
    found = load_published_vqgan(tmp_path / "last.ckpt", classes=CLASSES)
    assert found.num_tokens == T


def test_another_checkpoint_is_refused_in_a_sentence(tmp_path, checkpoint):
    first = {k: v for k, v in vqgan_weights().items() if k.startswith("first_stage_model.")}
    for weights, said in (
        ({k.removeprefix("first_stage_model."): v for k, v in first.items()}, "there is no 'tok_emb.weight'"),
        ({k: v for k, v in vqgan_weights().items() if "decoder.norm_out" not in k}, "2 weights missing"),
    ):
        torch.save({"state_dict": weights}, tmp_path / "other.ckpt")
        with pytest.raises(BadConfig, match=said):
            load_published_vqgan(tmp_path / "other.ckpt", classes=CLASSES)
    with pytest.raises(BadConfig, match="1000 classes have no places in a table of 24 tokens"):
        load_published_vqgan(checkpoint)


def test_what_is_saved_is_loaded_again(policy, tmp_path):
    named = VQGAN(policy.transformer, policy.image_tokenizer, class_names=list("abcde"))
    save_vqgan(named, tmp_path / "saved")
    found = load_vqgan(tmp_path / "saved")
    tokens = some_tokens(1)
    with torch.no_grad():
        assert torch.equal(found.hidden(tokens, found.encode(["d"])), policy.hidden(tokens, policy.encode(["3"])))
        assert torch.equal(found.decode(tokens), policy.decode(tokens))
