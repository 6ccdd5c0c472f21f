"""The contract of models that write a plan in words, and then draw it token by token, as policies.

One causal model with two heads: a row is a prompt, the words of a plan, begin-of-image, and a picture's tokens. What
follows a word is foretold by the head of words, what follows begin-of-image or a token by the head of tokens.

Shape letters: B rows, P places of the longest prompt, W words of the longest plan that may be written, its
begin-of-image among them, T tokens of a picture, U words that there are, V tokens that there are, D numbers of a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from plaudit.core.errors import BadConfig
from plaudit.generators.token_policy import Sampling, TokenPolicy
from plaudit.generators.token_rollout import Scored


@dataclass(frozen=True, kw_only=True)
class Texts:
    """B rows of text as a language model reads them: padding first, so that all end at the last place."""

    ids: Tensor
    """(B, P) int64"""
    mask: Tensor
    """(B, P) bool: False is padding, which nothing reads"""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Any) -> "Texts":
        return Texts(ids=self.ids[rows], mask=self.mask[rows])

    def to(self, device: torch.device) -> "Texts":
        """The same rows on that device."""
        return Texts(ids=self.ids.to(device), mask=self.mask.to(device))


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a policy answered B prompts with: plans, and pictures as tokens."""

    words: Tensor
    """(B, W) int64: the plan, then begin-of-image, as often as there are places"""
    written: Tensor
    """(B, W) bool: which places are part of it, up to begin-of-image and with it"""
    sampled: Tensor
    """(B, W) bool: which of those were drawn; a begin-of-image that the limit forced, and a plan given, were not"""
    word_log_probs: Tensor
    """(B, W) float32, under the distribution that each word was drawn from; 0 where none was"""
    tokens: Tensor
    """(B, T) int64"""
    token_log_probs: Tensor
    """(B, T) float32, under the distribution that each token was drawn from: guided, cooled and cut"""

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: Any) -> "Response":
        return Response(
            words=self.words[rows],
            written=self.written[rows],
            sampled=self.sampled[rows],
            word_log_probs=self.word_log_probs[rows],
            tokens=self.tokens[rows],
            token_log_probs=self.token_log_probs[rows],
        )


@dataclass(frozen=True, kw_only=True)
class ScoredResponse:
    """What a policy says of a response."""

    words: Scored
    """(B, W), begin-of-image among them, forced or not; 0 where nothing is written"""
    tokens: Scored
    """(B, T)"""


@dataclass(frozen=True, kw_only=True)
class PlanSampling:
    """How a response is drawn."""

    words: Sampling = field(default_factory=Sampling)
    """of the plan, which takes no guidance"""
    image: Sampling = field(default_factory=Sampling)
    plan: bool = True
    """whether a plan is written at all; without, begin-of-image follows the prompt"""

    def __post_init__(self) -> None:
        check_words_sampling(self.words)


def check_words_sampling(words: Sampling) -> None:
    """Raises BadConfig for a plan with guidance: only pictures are guided."""
    if words.guided:
        raise BadConfig(f"a plan is written without guidance (1), got {words.guidance:g}; guidance is for the picture")


@runtime_checkable
class PlanPolicy(Protocol):
    """Answers a prompt with a plan in words and a picture in tokens, or with a picture at once.

    A row's distributions depend on its own prompt, words and tokens only. Nothing here decides about gradients: they
    reach whatever part of `transformer` is trained. Nothing is dropped at random.
    """

    num_tokens: int
    """T"""
    vocabulary: int
    """V"""
    words_vocabulary: int
    """U"""
    max_words: int
    """W: the longest plan, its begin-of-image counted"""
    image_size: int
    """height and width of a picture, in pixels"""
    begin_of_image: int
    """the word that ends a plan"""
    writable: Tensor
    """(U,) bool: which words may stand in a plan: begin-of-image, but no other special word, and none without text"""
    device: torch.device
    guidable: bool
    """True: asked for nothing, it reads padding in place of all words but the first and begin-of-image"""

    @property
    def transformer(self) -> nn.Module:
        """All that may be trained: the language model, both heads, and how tokens are read."""
        ...

    @property
    def direct(self) -> TokenPolicy:
        """The same model drawing right after the prompt; its `encode` asks for no plan."""
        ...

    def encode(self, prompts: Sequence[str]) -> Texts:
        """The prompts as they ask for a plan; made once per run."""
        ...

    def asking_nothing(self, texts: Texts, drop: Tensor | None = None) -> Texts:
        """The texts, of which the rows that `drop` (B,) names, bool, ask for nothing; all rows, if left out.

        Words become padding that is read, but for begin-of-sentence and begin-of-image; mask and places stay. That is
        the other half of guidance's pairs, and what a training drops prompts to.
        """
        ...

    def begin(self, prompts: Texts, *, guided: bool, writes: bool = True) -> "PlanReading":
        """Read the prompts into a cache with room for W words and T tokens; twice the rows if it shall be guided.

        If it `writes` no more words, begin-of-image is all that there is room for beside the tokens.
        """
        ...

    def states(self, texts: Texts, tokens: Tensor) -> Tensor:
        """States (B, P + T - 1, D) of texts, which end with begin-of-image, and tokens (B, T), all read at once.

        State n is what foretells whatever stands at place n + 1: from P - 1 on, the tokens.
        """
        ...

    def word_logits(self, states: Tensor) -> Tensor:
        """(..., U) float32 of states (..., D); minus infinity for words that are not writable."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """(..., V) float32 of states (..., D)."""
        ...

    def read_words(self, words: Tensor, written: Tensor) -> list[str]:
        """The plans' text, B of them; an empty plan is an empty text."""
        ...

    def words_of(self, plans: Sequence[str], *, cut: bool = False) -> tuple[Tensor, Tensor]:
        """Words (B, W) int64 and which are written (B, W), bool, of plans in text; begin-of-image ends each.

        An empty plan is begin-of-image alone: the picture follows the prompt. Raises BadConfig for a plan with words
        that the model cannot write, or that is too long; with `cut`, that one is cut instead.
        """
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """Tokens (B, T) int64 of images (B, 3, H, W) in [0, 1] of any size, by the frozen encoder."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], float32, of tokens (B, T)."""
        ...


class PlanReading(Protocol):
    """A batch of responses on their way, with all that was read in a cache."""

    hidden: Tensor
    """(B, D), from which the next word or token is foretold; (2 B, D) from a guided `begin_picture` on"""

    def read_words(self, words: Tensor, going: Tensor) -> None:
        """Take in the next word (B,) of the rows that are `going` (B,), bool; nothing ever looks at the others'."""
        ...

    def begin_picture(self) -> None:
        """Take in begin-of-image, of all rows at one place.

        If guided, as many rows that ask for nothing come behind them, which read their padding here.
        """
        ...

    def read(self, tokens: Tensor) -> None:
        """Take in the next token of every row: (B,), or (2 B,) if guided."""
        ...


def given(words: Tensor, written: Tensor, tokens: Tensor) -> Response:
    """The response of words (B, W), written places (B, W) and tokens (B, T) that nobody drew, as data for a lesson."""
    nothing = torch.zeros(words.shape, device=words.device)
    return Response(
        words=words,
        written=written,
        sampled=torch.zeros_like(written),
        word_log_probs=nothing,
        tokens=tokens,
        token_log_probs=torch.zeros(tokens.shape, device=tokens.device),
    )


def followed_by(prompts: Texts, words: Tensor, written: Tensor) -> Texts:
    """Prompts (B, P) with the written ones of words (B, W) behind them, again with all padding first.

    No longer than the longest row needs: so begin-of-image is every row's last place.
    """
    ids, mask = torch.cat([prompts.ids, words], dim=1), torch.cat([prompts.mask, written], dim=1)
    # A stable sort of (padding, then text) keeps the order of what is read.
    order = mask.int().argsort(dim=1, stable=True)
    longest = int(mask.sum(dim=1).max())
    order = order[:, order.shape[1] - longest :]
    return Texts(ids=ids.gather(1, order), mask=mask.gather(1, order))


def joined(responses: Sequence[Response]) -> Response:
    """One batch of several, in their order."""
    return Response(
        **{one.name: torch.cat([getattr(response, one.name) for response in responses]) for one in fields(Response)}
    )


def with_begin(policy: PlanPolicy, prompts: Texts) -> Texts:
    """Prompts (B, P) with begin-of-image right behind them, (B, P + 1)."""
    last = prompts.ids.new_full((len(prompts), 1), policy.begin_of_image)
    return Texts(
        ids=torch.cat([prompts.ids, last], dim=1),
        mask=torch.cat([prompts.mask, torch.ones_like(last, dtype=torch.bool)], dim=1),
    )
