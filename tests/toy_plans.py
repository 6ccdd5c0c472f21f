"""A policy of plans and pictures in tables: what was read adds up; a picture's grey is its tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from toy_tokens import ToyTokens

from plaudit.generators.plan_policy import Texts

WORDS = ("<pad>", "<bos>", "<image>", "dark", "light", "grey", "very", "not")
PAD, BOS, IMAGE = 0, 1, 2


class ToyPlans:
    """`transformer` holds what a word and a token say by themselves, and what they add to what comes later."""

    def __init__(self, num_tokens: int = 3, vocabulary: int = 5, *, max_words: int = 4, seed: int = 0) -> None:
        self.num_tokens, self.vocabulary, self.device = num_tokens, vocabulary, torch.device("cpu")
        self.max_words, self.words_vocabulary, self.begin_of_image, self.guidable = max_words, len(WORDS), IMAGE, True
        self.image_size = 2
        self.writable = torch.arange(len(WORDS)) >= IMAGE
        rng = torch.Generator().manual_seed(seed)
        shapes = {
            "word": (len(WORDS), 8), "kept": (len(WORDS), 8), "token": (vocabulary, 8), "place": (num_tokens, 8),
            "words": (len(WORDS), 8), "tokens": (vocabulary, 8),
        }  # fmt: skip
        self.transformer = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(*shape, generator=rng)) for name, shape in shapes.items()}
        )

    @property
    def direct(self) -> "ToyPlans":
        return self

    def encode(self, prompts: Sequence[str]) -> Texts:
        longest = max(len(prompt.split()) for prompt in prompts) + 1
        ids = torch.full((len(prompts), longest), PAD)
        for row, prompt in enumerate(prompts):
            known = [BOS, *(WORDS.index(word) for word in prompt.split())]
            ids[row, longest - len(known) :] = torch.tensor(known)
        return Texts(ids=ids, mask=ids != PAD)

    def asking_nothing(self, texts: Texts, drop: Tensor | None = None) -> Texts:
        kept = (texts.ids == BOS) | (texts.ids == IMAGE)
        if drop is not None:
            kept = kept | ~drop[:, None]
        return Texts(ids=torch.where(kept, texts.ids, PAD), mask=texts.mask)

    def begin(self, prompts: Texts, *, guided: bool, writes: bool = True) -> "ToyPlanReading":
        return ToyPlanReading(self, prompts, guided)

    def states(self, texts: Texts, tokens: Tensor) -> Tensor:
        net = self.transformer
        sums = (net["kept"][texts.ids] * texts.mask[..., None]).cumsum(dim=1)
        of_words = torch.tanh(net["word"][texts.ids] + 0.3 * sums)
        of_tokens = torch.tanh(net["token"][tokens[:, :-1]] + net["place"][1:] + 0.3 * sums[:, -1:])
        return torch.cat([of_words, of_tokens], dim=1)

    def word_logits(self, states: Tensor) -> Tensor:
        return (states.float() @ self.transformer["words"].T).masked_fill(~self.writable, -torch.inf)

    def logits(self, states: Tensor) -> Tensor:
        return states.float() @ self.transformer["tokens"].T

    def read_words(self, words: Tensor, written: Tensor) -> list[str]:
        return [
            " ".join(WORDS[word] for word in row[there].tolist() if word != IMAGE)
            for row, there in zip(words, written, strict=True)
        ]

    def words_of(self, plans: Sequence[str], *, cut: bool = False) -> tuple[Tensor, Tensor]:
        words = torch.full((len(plans), self.max_words), PAD)
        for row, plan in enumerate(plans):
            known = [*(WORDS.index(word) for word in plan.split()), IMAGE]
            words[row, : len(known)] = torch.tensor(known)
        return words, words != PAD

    def encode_images(self, images: Tensor) -> Tensor:
        grey = (images.mean(dim=(1, 2, 3)) * (self.vocabulary - 1)).round().long()
        return grey[:, None].expand(-1, self.num_tokens).contiguous()

    def decode(self, tokens: Tensor) -> Tensor:
        return ToyTokens(self.num_tokens, self.vocabulary).decode(tokens)


class ToyPlanReading:
    def __init__(self, policy: ToyPlans, prompts: Texts, guided: bool) -> None:
        self.policy, self.guided, self.place = policy, guided, 0
        net = policy.transformer
        self.last = prompts.ids[:, -1]
        self.sums = (net["kept"][prompts.ids] * prompts.mask[..., None]).sum(dim=1)
        empty = policy.asking_nothing(prompts)
        self.nothing = (net["kept"][empty.ids] * prompts.mask[..., None]).sum(dim=1)
        self._know()

    def read_words(self, words: Tensor, going: Tensor) -> None:
        net = self.policy.transformer
        self.last = torch.where(going, words, self.last)
        self.sums = self.sums + net["kept"][words] * going[:, None]
        self.nothing = self.nothing + net["kept"][PAD] * going[:, None]
        self._know()

    def begin_picture(self) -> None:
        net = self.policy.transformer
        self.sums = self.sums + net["kept"][IMAGE]
        if self.guided:
            self.sums = torch.cat([self.sums, self.nothing + net["kept"][IMAGE]])
        self.last = torch.full((len(self.sums),), IMAGE)
        self._know()

    def read(self, tokens: Tensor) -> None:
        net = self.policy.transformer
        self.place += 1
        self.hidden = torch.tanh(net["token"][tokens] + net["place"][self.place] + 0.3 * self.sums)

    def _know(self) -> None:
        self.hidden = torch.tanh(self.policy.transformer["word"][self.last] + 0.3 * self.sums)
