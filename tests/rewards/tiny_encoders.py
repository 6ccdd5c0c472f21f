"""Text encoders of random weights in the format in which DeBERTa was published for BERTScore."""

import json
from pathlib import Path

import torch
from conftest import WORDS

SENTENCES = ["The", "image", "contains", "answer", "concisely", "what", "is", "going", "on", "in", "this"]


def save_deberta(folder: Path, *, layers: int = 4, safe: bool = False) -> Path:
    """A DebertaForSequenceClassification: vocab.json, merges.txt and a pickle, or else safetensors."""
    from transformers import DebertaConfig, DebertaForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    words = _save_byte_level(folder)
    torch.manual_seed(6)
    config = DebertaConfig(
        vocab_size=words, hidden_size=16, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=2,
        max_position_embeddings=64, max_relative_positions=-1, relative_attention=True, pos_att_type=["c2p", "p2c"],
        position_biased_input=False, type_vocab_size=0, initializer_range=0.5, layer_norm_eps=1e-7, num_labels=3,
    )  # fmt: skip
    model = DebertaForSequenceClassification(config)
    for name, weight in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(weight, std=0.3)
    config.save_pretrained(str(folder))
    if safe:
        model.save_pretrained(str(folder))
    else:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def _save_byte_level(folder: Path) -> int:
    """GPT-2's kind of tokenizer: bytes and a few whole words; returns the number of its symbols."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(b for b in range(256) if b not in printable)}
    symbols, merges = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(letters[byte] for byte in range(256))], []
    for word in [*SENTENCES, *WORDS]:
        built = letters[32]
        for letter in word:
            merges.append(f"{built} {letter}")
            built += letter
            symbols.append(built)
    symbols = [*dict.fromkeys(symbols), "[MASK]"]
    (folder / "vocab.json").write_text(json.dumps({symbol: place for place, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "gpt2"}')
    return len(symbols)
