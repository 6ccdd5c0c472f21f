"""Judges of random weights in the published formats: BLIP for questions, Qwen2.5-VL."""

import json
from pathlib import Path

import torch
from conftest import WORDS

QUESTION_WORDS = ("yes", "no", "does", "this", "figure", "show", "please", "answer", "or", "?", ",", '"')


def save_bert_tokenizer(folder: Path) -> int:
    """BERT's tokenizer as published beside BLIP: vocab.txt and tokenizer.json; returns its number of words."""
    from transformers import BertTokenizer

    letters = [chr(code) for code in range(97, 123)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = list(dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *WORDS, *QUESTION_WORDS]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=512)
    tokenizer.save_pretrained(str(folder))
    return len(words)


def save_blip(folder: Path) -> Path:
    """A BlipForQuestionAnswering folder that reads 16 x 16 pixels."""
    from transformers import BlipConfig, BlipForQuestionAnswering

    torch.manual_seed(2)
    words = save_bert_tokenizer(folder)
    config = BlipConfig(
        text_config={
            "vocab_size": words + 2, "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
            "bos_token_id": words, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0,
            "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 8, "initializer_range": 0.3,
        },
    )  # fmt: skip
    # What is asked and what is answered share one config, so that the vision tower is as wide as the text.
    model = BlipForQuestionAnswering(config)
    for name, weight in model.named_parameters():
        if "bias" in name or "embedding" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(str(folder))
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def save_qwen_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer of Qwen2.5-VL's kind: bytes, a few whole words, the marks of a chat; marks by name."""
    from transformers import Qwen2Tokenizer

    # The printable stand-ins of byte-level BPE, as GPT-2 chose them.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(b for b in range(256) if b not in printable)}
    vocabulary = {letters[byte]: byte for byte in range(256)}
    merges: list[tuple[str, str]] = []
    for word in ("Yes", "No"):
        start = word[0]
        for letter in word[1:]:
            merges.append((start, letter))
            start += letter
            vocabulary[start] = len(vocabulary)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, pad_token="<|endoftext|>", eos_token="<|im_end|>", unk_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.save_pretrained(str(folder))
    return {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}


def save_qwen(folder: Path) -> Path:
    """A Qwen2_5_VLForConditionalGeneration folder with patches of 4 pixels; pictures have 256 to 1024 pixels."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(3)
    marks = save_qwen_tokenizer(folder)
    words = max(marks.values()) + 1
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": words, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "initializer_range": 0.3, "max_window_layers": 2, "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            "bos_token_id": marks["<|endoftext|>"], "eos_token_id": marks["<|im_end|>"],
            "pad_token_id": marks["<|endoftext|>"],
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "out_hidden_size": 32,
            "fullatt_block_indexes": [1], "initializer_range": 0.3,
        },
        image_token_id=marks["<|image_pad|>"], video_token_id=words - 1 if marks["<|image_pad|>"] != words - 1 else 0,
        vision_start_token_id=marks["<|vision_start|>"], vision_end_token_id=marks["<|vision_end|>"],
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = marks["<|im_end|>"]
    model.save_pretrained(str(folder))
    settings = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 256, "max_pixels": 1024}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
