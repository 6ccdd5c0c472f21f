"""LlamaGen (Sun et al. 2024) as a token policy: told a class, or a caption through T5, it draws token by token.

Keeps the TokenPolicy contract. How the two networks are built is in llama_transformer.py and vq_tokenizer.py, where
they come from in llamagen_files.py. A caption stands at the end of its places, padding before it. Asked for nothing,
the model is told its last class, or its fixed states for no caption, at the places that the caption would have had.
Differs from the published scripts in the captions' cleaning: here they are put in lower case and stripped, no more.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.generators.class_names import ClassLabels, ClassNames
from plaudit.generators.conditions import MaskedStates, read_each_once
from plaudit.generators.llama_transformer import LlamaTransformer
from plaudit.generators.token_reading import CachedReading, read_all
from plaudit.generators.vq_tokenizer import VQTokenizer

Told = ClassLabels | MaskedStates


class LlamaGen:
    """A LlamaGen, frozen as built; a training unfreezes `transformer`. Keeps the TokenPolicy contract."""

    guidable = True

    def __init__(
        self,
        transformer: LlamaTransformer,
        image_tokenizer: VQTokenizer,
        *,
        class_names: Sequence[str] = (),
        text: tuple[Any, Any] | None = None,
    ) -> None:
        """`text`: tokenizer and T5 encoder, of a model that reads captions. Raises BadConfig if parts do not fit."""
        sizes = transformer.sizes
        if sizes.vocabulary != image_tokenizer.sizes.codebook_size:
            raise BadConfig(
                f"the transformer foretells {sizes.vocabulary} tokens and the tokenizer has "
                f"{image_tokenizer.sizes.codebook_size}; they are not of one model"
            )
        if sizes.caption_dim and text is None:
            raise BadConfig("this LlamaGen reads captions, and needs a T5 tokenizer and text encoder")
        if text is not None and sizes.caption_dim != text[1].config.d_model:
            raise BadConfig(
                f"the text encoder's states have {text[1].config.d_model} numbers, and the transformer reads "
                f"{sizes.caption_dim or 'classes'}"
            )
        self.transformer, self.image_tokenizer = transformer, image_tokenizer
        self.classes = ClassNames(sizes.classes, class_names)
        self.tokenizer: Any = text and text[0]
        self.text_encoder: Any = text and text[1]
        for network in (transformer, image_tokenizer, self.text_encoder):
            if network is not None:
                network.eval().requires_grad_(False)
        self.num_tokens, self.vocabulary = sizes.num_tokens, sizes.vocabulary
        self.image_size = sizes.grid * image_tokenizer.sizes.shrink
        self.device: torch.device = transformer.output.weight.device

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute the transformer's activations in the backward pass: less memory, about a third more time."""
        self.transformer.checkpointing = enabled

    def encode(self, prompts: Sequence[str]) -> Told:
        """The classes that the prompts name, or T5's states of the captions; equal captions are encoded once.

        Raises UnknownName for a class that there is not.
        """
        if self.text_encoder is None:
            return ClassLabels(labels=self.classes.numbers_of(prompts).to(self.device))
        return read_each_once(prompts, self._read)

    def beside_none(self, condition: Any) -> Told:
        """2 B rows: the condition's, then as many that ask for nothing."""
        twice = torch.arange(len(condition), device=self.device).repeat(2)
        return self.asking_nothing(
            condition[twice], torch.arange(2 * len(condition), device=self.device) >= len(condition)
        )

    def asking_nothing(self, condition: Any, drop: Tensor | None = None) -> Told:
        """The condition, of which the rows that `drop` (B,) names, bool, ask for nothing; all rows, if left out.

        What a training needs whose model shall also draw without being told.
        """
        drop = drop if drop is not None else torch.ones(len(condition), dtype=torch.bool, device=self.device)
        if isinstance(condition, ClassLabels):
            return ClassLabels(labels=condition.labels.masked_fill(drop, self.classes.count))
        none = self.transformer.none_states().to(condition.states.dtype)
        # The mask stays: as published, nothing is as long as the caption that it stands beside.
        return MaskedStates(states=torch.where(drop[:, None, None], none, condition.states), mask=condition.mask)

    def begin(self, condition: Any) -> CachedReading:
        """Read the conditions into a cache that has room for all T tokens."""
        return CachedReading(self.transformer, *self._prefix(condition))

    def hidden(self, tokens: Tensor, condition: Any) -> Tensor:
        """The states (B, T, D) from which each of the given tokens (B, T) is foretold, all read at once."""
        return read_all(self.transformer, *self._prefix(condition), tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        return self.transformer.logits(hidden)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T)."""
        return self.image_tokenizer.decode(tokens)

    def _prefix(self, condition: Any) -> tuple[Tensor, Tensor | None]:
        """What the transformer reads before the picture, and which of it is padding."""
        if isinstance(condition, ClassLabels):
            return self.transformer.prefix(condition.labels), None
        return self.transformer.prefix(condition.states), condition.mask

    def _read(self, prompts: list[str]) -> MaskedStates:
        read = self.tokenizer(
            [prompt.lower().strip() for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=self.transformer.sizes.prefix,
            return_tensors="pt",
        ).to(self.device)
        mask = read["attention_mask"]
        with torch.no_grad():
            states = self.text_encoder(read["input_ids"], attention_mask=mask).last_hidden_state
        return padded_before(states.to(self.transformer.output.weight.dtype), mask)


def padded_before(states: Tensor, mask: Tensor) -> MaskedStates:
    """Captions' states (B, L, D), whose padding by the mask (B, L) comes last, with it in front, as zeros."""
    length = states.shape[1]
    places = (torch.arange(length, device=states.device) + mask.sum(dim=1, keepdim=True)) % length
    mask = mask.flip(1)
    return MaskedStates(states=states.gather(1, places[..., None].expand_as(states)) * mask[..., None], mask=mask)
