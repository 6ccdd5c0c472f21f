"""Janus and Janus-Pro (Wu et al. 2024, Chen et al. 2025) as a policy that writes a plan and draws it.

Keeps the PlanPolicy contract; `direct` keeps the TokenPolicy contract. The networks are those of transformers'
JanusForConditionalGeneration. Guidance is Janus's own: asked for nothing, the model reads its padding, at the places
and after the mask of the text beside it, but for begin-of-sentence and begin-of-image, which stay. Where it comes from
is in janus_files.py.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.direct_drawing import DirectDrawing
from plaudit.generators.janus_reading import JanusReading, positions_of
from plaudit.generators.llama_reading import Place, Turns, read_rows
from plaudit.generators.memory_layout import lay_out_for
from plaudit.generators.plan_policy import Texts
from plaudit.generators.plan_words import PlanWords
from plaudit.generators.token_reading import looks

Normal = tuple[tuple[float, float, float], tuple[float, float, float]]
PLAIN_LOOK: Normal = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""to [-1, 1], as Janus-Pro's preprocessor_config.json says"""
GREY = 127 / 255
"""beside an oblong image that is shown"""
NEAREST_NUMBERS = 2**24
"""similarities to codes at once, when images are encoded"""


class JanusTransformer(nn.Module):
    """All of a Janus that is trained: the language model, both heads, and how picture tokens are read."""

    def __init__(self, network: Any) -> None:
        """`network`: a JanusForConditionalGeneration, whose own parts these are."""
        super().__init__()
        inner = network.model
        self.language_model = inner.language_model
        self.generation_embeddings = inner.generation_embeddings
        self.generation_aligner = inner.generation_aligner
        self.generation_head = inner.generation_head
        tied = network.lm_head.weight is inner.language_model.embed_tokens.weight
        self.lm_head: nn.Module | None = None if tied else network.lm_head
        self.checkpointing = False
        self._turns = Turns()

    def embed_words(self, ids: Tensor) -> Tensor:
        """(B, n, D) of words (B, n)."""
        return cast(Tensor, self.language_model.embed_tokens(ids))

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """(B, n, D) of picture tokens (B, n)."""
        embedded = self.generation_embeddings(tokens)
        # Where products are of a lower precision, states between layers still are not.
        return cast(Tensor, self.generation_aligner(embedded).to(embedded.dtype))

    def read(
        self, rows: Tensor, positions: Tensor, allowed: Tensor | None = None, *, at: Sequence[Place] = ()
    ) -> Tensor:
        """The states (B, n, D) of embedded rows (B, n, D) at positions (B, n); see `read_rows`."""
        turns = self._turns.at(self.language_model, positions)
        return read_rows(self.language_model, rows, turns, allowed=allowed, at=at, checkpointing=self.checkpointing)

    def word_logits(self, states: Tensor) -> Tensor:
        """(..., U) float32 of states (..., D)."""
        if self.lm_head is None:
            return F.linear(states, self.language_model.embed_tokens.weight).float()
        return cast(Tensor, self.lm_head(states)).float()

    def token_logits(self, states: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        return cast(Tensor, self.generation_head(states)).float()

    def published_name(self, name: str) -> str:
        """A weight's name in the whole network, of its name here."""
        return name if name.startswith("lm_head.") else f"model.{name}"

    # As diffusers' networks name them, so that a LoRA is laid over it as over those.

    def add_adapter(self, config: Any) -> None:
        """Lay a LoRA of peft's configuration over it. Raises ValueError if nothing has such a name."""
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, self)

    def disable_adapters(self) -> None:
        """Until `enable_adapters`, be what it was before."""
        self._enable_adapters(False)

    def enable_adapters(self) -> None:
        """Be what the LoRA makes of it again."""
        self._enable_adapters(True)

    def _enable_adapters(self, enabled: bool) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in self.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.enable_adapters(enabled)


class Janus:
    """A Janus, frozen as built; a training unfreezes `transformer`. Keeps the PlanPolicy contract."""

    guidable = True

    def __init__(self, network: Any, words: PlanWords, *, look: Normal = PLAIN_LOOK) -> None:
        """`network`: a JanusForConditionalGeneration. `look`: mean and spread of what its understanding tower is shown.

        Raises BadConfig if it cannot read as far as prompts, plans and pictures may go.
        """
        network.eval().requires_grad_(False)
        config = network.config
        self.network = network
        self.transformer = JanusTransformer(network)
        self.image_tokenizer: Any = network.model.vqmodel
        for coder in (self.image_tokenizer.encoder, self.image_tokenizer.decoder):
            lay_out_for(coder)
        self.vision_model: Any = network.model.vision_model
        self.aligner: Any = network.model.aligner
        self.words, self.normal = words, look
        grid = config.vq_config.num_patches
        self.num_tokens, self.vocabulary = grid * grid, config.vq_config.num_embeddings
        self.words_vocabulary = config.text_config.vocab_size
        self.max_words, self.begin_of_image = words.max_words, words.begin_of_image
        self.image_size = grid * 2 ** (len(config.vq_config.channel_multiplier) - 1)
        self.device: torch.device = self.transformer.language_model.embed_tokens.weight.device
        self.writable = words.writable.to(self.device)
        furthest = words.settings.max_prompt + words.max_words + self.num_tokens
        if furthest > config.text_config.max_position_embeddings:
            raise BadConfig(
                f"prompt, plan and picture may take {furthest} places, and this model knows "
                f"{config.text_config.max_position_embeddings}"
            )

    @property
    def direct(self) -> DirectDrawing:
        """The same model drawing right after the prompt."""
        return DirectDrawing(self, lambda prompts: self.words.prompts(prompts, "direct").to(self.device))

    def use_checkpointing(self, enabled: bool = True) -> None:
        """Recompute the transformer's activations in the backward pass: less memory, about a third more time."""
        self.transformer.checkpointing = enabled

    def encode(self, prompts: Sequence[str]) -> Texts:
        """The prompts as they ask for a plan. Raises BadConfig for one that holds a sign such as begin-of-image."""
        return self.words.prompts(prompts, "planning").to(self.device)

    def asking_nothing(self, texts: Texts, drop: Tensor | None = None) -> Texts:
        """The texts, of which the rows that `drop` (B,) names, bool, ask for nothing; all rows, if left out."""
        kept = (texts.ids == self.words.begin) | (texts.ids == self.begin_of_image)
        if drop is not None:
            kept = kept | ~drop[:, None]
        return Texts(ids=texts.ids.masked_fill(~kept, self.words.padding), mask=texts.mask)

    def begin(self, prompts: Texts, *, guided: bool, writes: bool = True) -> JanusReading:
        """Read the prompts into a cache with room for W words and T tokens; twice the rows if it shall be guided."""
        return JanusReading(self, prompts, guided=guided, words=self.max_words if writes else 1)

    def states(self, texts: Texts, tokens: Tensor) -> Tensor:
        """States (B, P + T - 1, D) of texts that end with begin-of-image, and of tokens (B, T), all read at once."""
        network = self.transformer
        rows = torch.cat([network.embed_words(texts.ids), network.embed_tokens(tokens[:, :-1])], dim=1)
        seen = torch.cat([texts.mask, texts.mask.new_ones(tokens[:, :-1].shape)], dim=1)
        allowed = None if bool(seen.all()) else looks(0, seen.shape[1], seen)
        return network.read(rows, positions_of(seen), allowed)

    def word_logits(self, states: Tensor) -> Tensor:
        """(..., U) float32 of states (..., D); minus infinity for words that are not writable."""
        return self.transformer.word_logits(states).masked_fill(~self.writable, -torch.inf)

    def logits(self, states: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        return self.transformer.token_logits(states)

    def read_words(self, words: Tensor, written: Tensor) -> list[str]:
        """The plans' text, B of them."""
        return self.words.texts(words, written)

    def words_of(self, plans: Sequence[str], *, cut: bool = False) -> tuple[Tensor, Tensor]:
        """Words (B, W) int64 and which are written (B, W), bool, of plans in text; begin-of-image ends each."""
        words, written = self.words.plans(plans, cut=cut)
        return words.to(self.device), written.to(self.device)

    def encode_images(self, images: Tensor) -> Tensor:
        """Tokens (B, T) int64 of images (B, 3, H, W) in [0, 1] of any size; of oblong ones the middle square's.

        By the code of the same direction, as the published tokenizer was trained, in which a vector's length says
        nothing; transformers' own encoder compares with the length too.
        """
        coder, tokens = self.image_tokenizer, []
        codes = F.normalize(coder.quantize.embedding.weight.float(), dim=-1)
        at_once = max(1, NEAREST_NUMBERS // (self.num_tokens * self.vocabulary))
        with torch.no_grad():
            for some in squared(images.to(self.device), self.image_size).split(at_once):
                wanted = coder.quant_conv.weight
                found = coder.quant_conv(coder.encoder((2 * some - 1).to(wanted.dtype))).float()
                tokens.append((found.flatten(2).transpose(1, 2) @ codes.T).argmax(dim=-1))
        return torch.cat(tokens)

    def look(self, images: Tensor) -> Tensor:
        """What the understanding tower makes of images (B, 3, H, W) in [0, 1] of any size: (B, n, D) for the decoder.

        Oblong ones are shown whole, grey beside them.
        """
        shown = padded_square(images.to(self.device), self.vision_model.config.image_size)
        mean, spread = (torch.tensor(it, device=self.device)[:, None, None] for it in self.normal)
        with torch.no_grad():
            found = self.aligner(self.vision_model((shown - mean) / spread).last_hidden_state)
        return cast(Tensor, found)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T)."""
        found: Tensor = self.image_tokenizer.decode(tokens)
        return (found.float() / 2 + 0.5).clamp(0, 1).contiguous()


def squared(images: Tensor, side: int) -> Tensor:
    """The middle squares of images (B, 3, H, W) in [0, 1], (B, 3, side, side)."""
    height, width = images.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return _resized(images[..., top : top + short, left : left + short], side, side)


def padded_square(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] as large as they fit into (B, 3, side, side), in the middle, grey around them."""
    height, width = images.shape[-2:]
    tall, wide = (max(1, round(side * it / max(height, width))) for it in (height, width))
    top, left = (side - tall) // 2, (side - wide) // 2
    around = (left, side - wide - left, top, side - tall - top)
    return F.pad(_resized(images, tall, wide), around, value=GREY)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[-2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return images.clamp(0, 1)
