"""LlamaGen's files: folders of our layout, and the published pickles."""

import json

import pytest
import torch
from tiny_token_models import (
    DIM,
    IMAGE_SIZE,
    VOCABULARY,
    know_the_tiny_width,
    llama_weights,
    prompts_of,
    save_llamagen_files,
    small_policy,
    some_tokens,
)

from plaudit.core.errors import BadConfig
from plaudit.generators.llamagen_files import load_llamagen, load_published_llamagen, save_llamagen

pytest_plugins = ["tiny_llamagen"]


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_what_is_saved_is_loaded_again(policy, tmp_path, dtype):
    policy.transformer.layers[0].attention.wo.weight.data += 1
    save_llamagen(policy, tmp_path / "saved", dtype=dtype)
    found = load_llamagen(tmp_path / "saved")
    tokens = some_tokens()
    with torch.no_grad():
        expected = policy.hidden(tokens, policy.encode(prompts_of(policy)))
        states = found.hidden(tokens, found.encode(prompts_of(policy)))
        assert torch.allclose(states, expected, atol=1e-6 if dtype is None else 3e-2)
        assert torch.allclose(found.decode(tokens), policy.decode(tokens), atol=1e-6 if dtype is None else 3e-2)
    assert states.dtype == torch.float32
    assert found.transformer.sizes == policy.transformer.sizes


def test_class_names_are_saved_too(tmp_path):
    save_llamagen(small_policy(class_names=list("abcde")), tmp_path)
    assert load_llamagen(tmp_path).encode(["d"]).labels.tolist() == [3]


def test_loading_draws_nothing_and_a_loaded_model_can_be_trained(tmp_path):
    save_llamagen(small_policy(), tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    found = load_llamagen(tmp_path)
    assert torch.equal(torch.rand(4), expected)
    found.transformer.requires_grad_(True)
    torch.optim.SGD(found.transformer.parameters(), lr=1.0).step()
    found.logits(found.hidden(torch.zeros(1, 4, dtype=torch.long), found.encode(["1"]))).sum().backward()
    assert not any(weight.is_meta for weight in found.transformer.parameters())


@pytest.mark.parametrize("nest", ["model", "module", "state_dict", ""])
def test_a_published_transformer_is_read_wherever_its_weights_are(tmp_path, monkeypatch, nest):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path, nest=nest)
    found = load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE)
    assert torch.equal(found.transformer.norm.weight, llama_weights()["norm.weight"])


def broken(tmp_path, **changed):
    weights = llama_weights()
    for name, weight in changed.items():
        name = name.replace("__", ".")
        weights.pop(name, None) if weight is None else weights.update({name: weight})
    torch.save({"model": weights}, tmp_path / "gpt.pt")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers__1__attention__wo__weight": None}, "1 weights missing .'layers.1.attention.wo.weight'"),
        ({"extra": torch.zeros(1)}, "1 unknown .'extra'"),
        ({"output__weight": torch.zeros(VOCABULARY + 1, DIM)}, r"output.weight is \(25, 32\), wanted \(24, 32\)"),
        ({"norm__weight": torch.zeros(3)}, r"norm.weight is \(3,\), wanted \(32,\)"),
        ({"tok_embeddings__weight": None}, "not a LlamaGen's transformer: there is no 'tok_embeddings.weight'"),
        ({"tok_embeddings__weight": torch.zeros(VOCABULARY, 40)}, "no published LlamaGen is 40 numbers wide"),
    ],
)
def test_a_transformer_of_another_model_is_refused_in_a_sentence(tmp_path, monkeypatch, changed, said):
    know_the_tiny_width(monkeypatch)
    _, tokenizer = save_llamagen_files(tmp_path)
    broken(tmp_path, **changed)
    with pytest.raises(BadConfig, match=said):
        load_published_llamagen(tmp_path / "gpt.pt", tokenizer=tokenizer, image_size=IMAGE_SIZE)


def test_files_given_in_the_wrong_order_are_refused(tmp_path, monkeypatch):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path)
    with pytest.raises(
        BadConfig, match=r"gpt.pt is not LlamaGen's image tokenizer: there is no 'encoder.conv_in.weight'"
    ):
        load_published_llamagen(tokenizer, tokenizer=transformer, image_size=IMAGE_SIZE)


class Harmful:
    def __reduce__(self):
        return (print, ("harm",))


def test_a_pickle_that_would_run_code_is_not_opened(tmp_path, capsys):
    transformer, tokenizer = save_llamagen_files(tmp_path)
    torch.save({"model": llama_weights(), "args": Harmful()}, transformer)
    with pytest.raises(BadConfig, match="was not opened: it holds more than tensors"):
        load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE)
    assert "harm" not in capsys.readouterr().out


def test_what_does_not_fit_together_is_refused(tmp_path, monkeypatch):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path, captions=True)
    with pytest.raises(BadConfig, match="reads captions: name the folder of flan-t5-xl"):
        load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE)
    with pytest.raises(BadConfig, match="pictures of 7 pixels"):
        load_published_llamagen(transformer, tokenizer=tokenizer, image_size=7)
    with pytest.raises(BadConfig, match="there is no folder"):
        load_published_llamagen(transformer, tokenizer=tokenizer, image_size=6, text_encoder=tmp_path / "nothing")
    with pytest.raises(BadConfig, match="foretells 13 tokens and the tokenizer has 12"):
        small_policy(vocabulary=13)
    with pytest.raises(BadConfig, match="told a class or a caption"):
        small_policy(caption_dim=8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no folder of a token model"),
        (lambda folder: (folder / "config.json").write_text("{"), "is damaged: it is not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"format": "x"}'), "its format is 'x'"),
        (lambda folder: (folder / "tokenizer.safetensors").unlink(), "has no tokenizer.safetensors"),
        (lambda folder: (folder / "transformer.safetensors").write_bytes(b"x" * 99), "is damaged or cut short"),
        (lambda folder: resize(folder, dim=24), "does not fit the sizes of this model"),
        (lambda folder: resize(folder, breadth=24), "must say sizes under 'transformer'"),
        (lambda folder: resize(folder, dim=None), "does not say all sizes under 'transformer'"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(tmp_path, change, said):
    save_llamagen(small_policy(), tmp_path)
    change(tmp_path)
    with pytest.raises(BadConfig, match=said):
        load_llamagen(tmp_path)


def resize(folder, **changed):
    config = json.loads((folder / "config.json").read_text())
    config["transformer"] = {k: v for k, v in (config["transformer"] | changed).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))
