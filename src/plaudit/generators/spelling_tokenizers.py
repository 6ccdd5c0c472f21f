"""Tokenizers that spell, made on the fly: for networks of random weights, which no word means anything to.

Prompts are padded to the length that a model reads, so that it costs the same as with the published vocabulary.
"""

import inspect
import string
from typing import Any

from plaudit.generators.shapes.models import Spelling

CLIP_LENGTH = 77
LETTERS = string.ascii_lowercase + string.digits + ",.'"


def spelling_tokenizer(kind: Spelling) -> Any:
    """A tokenizer of that kind, of fewer than 128 symbols; Gemma's of fewer than 2048."""
    return {"clip": _clip, "t5": _t5, "gemma": _gemma}[kind]()


def _clip() -> Any:
    from transformers import CLIPTokenizer

    symbols = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CLIP_LENGTH, pad_token="<|endoftext|>")


def _t5() -> Any:
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *((letter, -1.0) for letter in ("▁", *LETTERS))], extra_ids=0)


def _gemma() -> Any:
    """Reads the words of SANA's instruction, which stands before every prompt, as one token each, and spells others.

    Spelled too, it would be several times as long as it is.
    """
    from diffusers import SanaSprintPipeline
    from transformers import GemmaTokenizer

    lines = inspect.signature(SanaSprintPipeline.__call__).parameters["complex_human_instruction"].default
    symbols = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_letters, *string.digits]
    symbols += [*string.punctuation, "\n"]
    merges: dict[tuple[str, str], str] = {}
    for word in "\n".join(lines).split():
        built = "▁"
        for letter in word:
            merges[built, letter] = built + letter
            built += letter
    vocabulary = dict.fromkeys([*symbols, *merges.values()])
    return GemmaTokenizer(vocab={symbol: index for index, symbol in enumerate(vocabulary)}, merges=list(merges))
