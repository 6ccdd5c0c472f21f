"""Tiny random checkpoints of token models in the published formats, by the published names written out here."""

import argparse

import torch
from tiny_t5 import make_t5

from plaudit.generators.llama_transformer import PUBLISHED_HEADS, LlamaSizes, LlamaTransformer
from plaudit.generators.llamagen import LlamaGen
from plaudit.generators.vq_tokenizer import TokenizerSizes, VQTokenizer

DIM, HEADS, HIDDEN, LAYERS = 32, 2, 48, 2
VOCABULARY, CODE_DIM, CLASSES = 24, 4, 5
GRID, IMAGE_SIZE = 3, 6
CAPTION_DIM, PREFIX = 32, 6
T = GRID * GRID
CAPTIONS = ["a red circle", "two blue star", "star"]


class Drawn:
    """Weights by name, each drawn so that no layer dies out."""

    def __init__(self, seed=0):
        self.rng, self.weights = torch.Generator().manual_seed(seed), {}

    def draw(self, name, *shape, scale=None):
        scale = scale or torch.Size(shape[1:]).numel() ** -0.5
        self.weights[name] = torch.randn(shape, generator=self.rng) * scale

    def norm(self, name, width, *, bias=True):
        self.weights[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=self.rng)
        if bias:
            self.draw(f"{name}.bias", width, scale=0.2)

    def layer(self, name, before, after, *, side=None, bias=True):
        shape = (after, before) if side is None else (after, before, side, side)
        self.draw(f"{name}.weight", *shape)
        if bias:
            self.draw(f"{name}.bias", after, scale=0.2)

    def resnet(self, name, before, after):
        self.norm(f"{name}.norm1", before)
        self.layer(f"{name}.conv1", before, after, side=3)
        self.norm(f"{name}.norm2", after)
        self.layer(f"{name}.conv2", after, after, side=3)
        if before != after:
            self.layer(f"{name}.nin_shortcut", before, after, side=1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.layer(f"{name}.{part}", width, width, side=1)


def llama_weights(*, captions=False, seed=0):
    """A LlamaGen transformer's, as in c2i_B_256.pt or t2i_XL_stage1_256.pt but for the sizes."""
    made = Drawn(seed)
    if captions:
        made.draw("cls_embedding.uncond_embedding", PREFIX, CAPTION_DIM, scale=1.0)
        made.layer("cls_embedding.cap_proj.fc1", CAPTION_DIM, DIM, bias=False)
        made.layer("cls_embedding.cap_proj.fc2", DIM, DIM, bias=False)
    else:
        made.draw("cls_embedding.embedding_table.weight", CLASSES + 1, DIM, scale=1.0)
    made.draw("tok_embeddings.weight", VOCABULARY, DIM, scale=1.0)
    for number in range(LAYERS):
        name = f"layers.{number}"
        made.layer(f"{name}.attention.wqkv", DIM, 3 * DIM, bias=False)
        made.layer(f"{name}.attention.wo", DIM, DIM, bias=False)
        made.layer(f"{name}.feed_forward.w1", DIM, HIDDEN, bias=False)
        made.layer(f"{name}.feed_forward.w3", DIM, HIDDEN, bias=False)
        made.layer(f"{name}.feed_forward.w2", HIDDEN, DIM, bias=False)
        made.norm(f"{name}.attention_norm", DIM, bias=False)
        made.norm(f"{name}.ffn_norm", DIM, bias=False)
    made.norm("norm", DIM, bias=False)
    made.layer("output", DIM, VOCABULARY, bias=False)
    return made.weights


def vq_weights(seed=1):
    """LlamaGen's tokenizer's, as in vq_ds16_c2i.pt but for the sizes: 32 and 64 channels, one block a level."""
    made = Drawn(seed)
    made.layer("encoder.conv_in", 3, 32, side=3)
    made.resnet("encoder.conv_blocks.0.res.0", 32, 32)
    made.layer("encoder.conv_blocks.0.downsample.conv", 32, 32, side=3)
    made.resnet("encoder.conv_blocks.1.res.0", 32, 64)
    made.attention("encoder.conv_blocks.1.attn.0", 64)
    made.norm("encoder.norm_out", 64)
    made.layer("encoder.conv_out", 64, 6, side=3)
    made.layer("decoder.conv_in", 6, 64, side=3)
    for number, before in enumerate((64, 64)):
        made.resnet(f"decoder.conv_blocks.0.res.{number}", before, 64)
        made.attention(f"decoder.conv_blocks.0.attn.{number}", 64)
    made.layer("decoder.conv_blocks.0.upsample.conv", 64, 64, side=3)
    made.resnet("decoder.conv_blocks.1.res.0", 64, 32)
    made.resnet("decoder.conv_blocks.1.res.1", 32, 32)
    made.norm("decoder.norm_out", 32)
    made.layer("decoder.conv_out", 32, 3, side=3)
    for coder in ("encoder", "decoder"):
        made.resnet(f"{coder}.mid.0", 64, 64)
        made.attention(f"{coder}.mid.1", 64)
        made.resnet(f"{coder}.mid.2", 64, 64)
    made.draw("quantize.embedding.weight", VOCABULARY, CODE_DIM, scale=1.0)
    made.layer("quant_conv", 6, CODE_DIM, side=1)
    made.layer("post_quant_conv", CODE_DIM, 6, side=1)
    return made.weights


def vqgan_weights(seed=2):
    """The state dict of a class-conditional training of taming-transformers: GPT of 128 numbers, first stage, loss."""
    made, width = Drawn(seed), 128
    made.draw("transformer.tok_emb.weight", VOCABULARY, width, scale=1.0)
    made.draw("transformer.pos_emb", 1, GRID * GRID, width, scale=1.0)
    for number in range(LAYERS):
        name = f"transformer.blocks.{number}"
        made.norm(f"{name}.ln1", width)
        made.norm(f"{name}.ln2", width)
        for part in ("key", "query", "value", "proj"):
            made.layer(f"{name}.attn.{part}", width, width)
        made.layer(f"{name}.mlp.0", width, 4 * width)
        made.layer(f"{name}.mlp.2", 4 * width, width)
        made.weights[f"{name}.attn.mask"] = torch.ones(GRID * GRID, GRID * GRID).tril()[None, None]
    made.norm("transformer.ln_f", width)
    made.layer("transformer.head", width, VOCABULARY, bias=False)
    first = "first_stage_model."
    made.layer(f"{first}encoder.conv_in", 3, 32, side=3)
    made.resnet(f"{first}encoder.down.0.block.0", 32, 32)
    made.layer(f"{first}encoder.down.0.downsample.conv", 32, 32, side=3)
    made.resnet(f"{first}encoder.down.1.block.0", 32, 64)
    made.attention(f"{first}encoder.down.1.attn.0", 64)
    made.norm(f"{first}encoder.norm_out", 64)
    made.layer(f"{first}encoder.conv_out", 64, 6, side=3)
    made.layer(f"{first}decoder.conv_in", 6, 64, side=3)
    for number in range(2):
        made.resnet(f"{first}decoder.up.1.block.{number}", 64, 64)
        made.attention(f"{first}decoder.up.1.attn.{number}", 64)
    made.layer(f"{first}decoder.up.1.upsample.conv", 64, 64, side=3)
    made.resnet(f"{first}decoder.up.0.block.0", 64, 32)
    made.resnet(f"{first}decoder.up.0.block.1", 32, 32)
    made.norm(f"{first}decoder.norm_out", 32)
    made.layer(f"{first}decoder.conv_out", 32, 3, side=3)
    for coder in ("encoder", "decoder"):
        made.resnet(f"{first}{coder}.mid.block_1", 64, 64)
        made.attention(f"{first}{coder}.mid.attn_1", 64)
        made.resnet(f"{first}{coder}.mid.block_2", 64, 64)
    made.draw(f"{first}quantize.embedding.weight", VOCABULARY, CODE_DIM, scale=1.0)
    made.layer(f"{first}quant_conv", 6, CODE_DIM, side=1)
    made.layer(f"{first}post_quant_conv", CODE_DIM, 6, side=1)
    made.layer(f"{first}loss.discriminator.main.0", 3, 4, side=4)
    return made.weights


def save_llamagen_files(folder, *, captions=False, nest="model", tokenizer_nest="model"):
    """A transformer's and a tokenizer's .pt files, with what a training leaves; without `nest`, bare weights."""
    vq = vq_weights()
    vq["quantize.codebook_used"] = torch.zeros(65536)
    left = {"steps": 300, "args": argparse.Namespace(epochs=3, vq_model="VQ-16")}
    weights = llama_weights(captions=captions)
    torch.save({nest: weights, "optimizer": {"state": {}}, **left} if nest else weights, folder / "gpt.pt")
    torch.save({tokenizer_nest: vq, **left}, folder / "vq.pt")
    return folder / "gpt.pt", folder / "vq.pt"


def know_the_tiny_width(monkeypatch):
    """The transformers' heads are not in their shapes: LlamaGen's loader knows them by the published widths."""
    monkeypatch.setitem(PUBLISHED_HEADS, DIM, HEADS)


def save_t5(folder):
    """Flan-T5's folder in miniature: tokenizer and weights side by side."""
    tokenizer, encoder = make_t5(width=CAPTION_DIM)
    tokenizer.save_pretrained(str(folder))
    encoder.save_pretrained(str(folder))
    return folder


def small_policy(class_names=(), **changed):
    """A class-conditional LlamaGen as a training starts it, of 5 classes and 4 tokens."""
    sizes = {"dim": 16, "layers": 1, "heads": 2, "hidden": 24, "vocabulary": 12, "grid": 2, "classes": 5} | changed
    first = TokenizerSizes(
        channels=8, multipliers=(1, 2), res_blocks=1, norm_groups=4, z_channels=4, codebook_size=12, codebook_dim=3
    )
    return LlamaGen(LlamaTransformer(LlamaSizes(**sizes)), VQTokenizer(first), class_names=class_names)


def prompts_of(policy):
    """Three that the policy knows: captions, or classes by their numbers."""
    return CAPTIONS if policy.text_encoder is not None else ["0", "3", "4"]


def some_tokens(count=3):
    """(count, T), always the same ones."""
    return torch.randint(VOCABULARY, (count, T), generator=torch.Generator().manual_seed(2))


# The same blocks once more, without a module: what the published code computes, from its weights by name.


def conv(w, name, x, **settings):
    return torch.nn.functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **settings)


def group_norm(w, name, x, groups=32):
    grouped = x.reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    scaled = centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()
    return scaled.reshape(x.shape) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def swish(x):
    return x * torch.sigmoid(x)


def resnet(w, name, x):
    found = conv(w, f"{name}.conv1", swish(group_norm(w, f"{name}.norm1", x)), padding=1)
    found = conv(w, f"{name}.conv2", swish(group_norm(w, f"{name}.norm2", found)), padding=1)
    return found + (conv(w, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in w else x)


def attention(w, name, x):
    read = group_norm(w, f"{name}.norm", x)
    query, key, value = (conv(w, f"{name}.{part}", read).flatten(2) for part in "qkv")
    shares = (torch.einsum("bci,bcj->bij", query, key) * x.shape[1] ** -0.5).softmax(2)
    return x + conv(w, f"{name}.proj_out", torch.einsum("bij,bcj->bci", shares, value).reshape(x.shape))


def down(w, name, x):
    return conv(w, name, torch.nn.functional.pad(x, (0, 1, 0, 1)), stride=2)


def up(w, name, x):
    return conv(w, name, x.repeat_interleave(2, 2).repeat_interleave(2, 3), padding=1)


def out(w, name, x):
    return conv(w, f"{name}.conv_out", swish(group_norm(w, f"{name}.norm_out", x)), padding=1)
