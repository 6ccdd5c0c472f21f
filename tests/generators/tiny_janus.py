"""Tiny random Januses in the published layout, with a tokenizer of whole words."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from plaudit.generators.janus_files import load_janus
from plaudit.generators.plan_words import PlanSettings, settings_text

SIGNS = ["<pad>", "<s>", "</s>", "<begin_of_image>", "<end_of_image>", "<image_placeholder>", "<unk>"]
SAID = (
    "a an the red blue green yellow circle square star ring two three left right of above below at on white black "
    "background big small is there yes no in what colour how many ? , . plan :"
)
WORDS = SAID.split()
UNUSED = 5
"""words that the model foretells and the tokenizer does not know, as in the published models"""
KNOWN = len(SIGNS) + len(WORDS) + UNUSED
GRID, CODES, SIDE = 3, 24, 6
MAX_WORDS = 7
PLAIN = PlanSettings(
    planning="{prompt} plan :", direct="{prompt}", plan="{plan}", question="{image} {question}", yes=("yes",),
    no=("no",), max_words=MAX_WORDS, max_prompt=12,
)  # fmt: skip


def make_tokenizer(said=WORDS):
    vocabulary = {word: number for number, word in enumerate([*SIGNS, *said])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        padding_side="left",
        extra_special_tokens={
            "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_placeholder>"
        },
    )  # fmt: skip


def make_config(*, kv_heads=4, layers=2, tied=False, words=KNOWN, room=64):
    """`words`: that it foretells; `room`: places of a text with its picture."""
    places = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = LlamaConfig(
        vocab_size=words, hidden_size=32, intermediate_size=48, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=kv_heads, max_position_embeddings=room, **places,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=2, projection_dim=32,
        num_image_tokens=GRID * GRID,
    )  # fmt: skip
    pictures = JanusVQVAEConfig(
        embed_dim=4, num_embeddings=CODES, latent_channels=8, base_channels=32, channel_multiplier=[1, 1],
        num_res_blocks=1, projection_dim=32, image_token_embed_dim=32,
    )  # fmt: skip
    return JanusConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), vq_config=pictures.to_dict(), image_token_id=5,
        tie_word_embeddings=tied, **places,
    )  # fmt: skip


def make_network(seed=0, *, spread=0.3, **sizes):
    """Weights large enough that what is read matters: a freshly built network says nearly the same to everything."""
    network = JanusForConditionalGeneration(make_config(**sizes)).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" in name and name.endswith("weight"):
                weight.copy_(1 + 0.2 * torch.randn(weight.shape, generator=rng))
            else:
                weight.copy_(spread * torch.randn(weight.shape, generator=rng))
        network.model.language_model.embed_tokens.weight[0].normal_(generator=rng)
    told = network.generation_config
    # As the published conversion does: else what follows is not read again.
    told._from_model_config = False
    told.pad_token_id, told.bos_token_id, told.eos_token_id = 0, 1, 2
    told.generation_kwargs = {"boi_token_id": 3}
    return network


def save_janus_folder(folder, *, settings=PLAIN, seed=0, **sizes):
    """A folder as it is on the hub, with plan.json beside it unless `settings` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    make_network(seed, **sizes).save_pretrained(str(folder))
    make_tokenizer().save_pretrained(str(folder))
    if settings is not None:
        (folder / "plan.json").write_text(settings_text(settings))
    return folder


def load_tiny(folder, **sizes):
    return load_janus(save_janus_folder(folder, **sizes))
