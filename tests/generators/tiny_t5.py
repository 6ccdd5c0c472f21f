"""A T5 encoder small enough for tests, in the published format."""

import torch
from conftest import WORDS


def make_t5(*, width=32):
    """Tokenizer and encoder, whose words are WORDS and single letters; states of `width` numbers."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*(f"▁{word}" for word in WORDS), "▁", *(chr(code) for code in range(97, 123))]
    tokenizer = T5Tokenizer(vocab=special + [(piece, -3.0) for piece in pieces], extra_ids=0)
    config = T5Config(
        vocab_size=len(special) + len(pieces), d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.manual_seed(0)
    return tokenizer, T5EncoderModel(config)
