"""BLIP asked about a picture: the probability that it answers yes. After BLIP (Li et al. 2022).

A protocol says what is asked of a prompt, and what is made of the answers; two published ones are here. BLIP-VQA (Huang
et al. 2023, T2I-CompBench) asks "{noun phrase}?" of each thing that the prompt names, and multiplies
P(yes) / (P(yes) + P(no)). VQAScore (Lin et al. 2024) asks once whether the picture shows the whole prompt, and takes
P(yes) among all answers. Both read the first token of the answer.

Differs from the model library's own pipeline, as the published code does: a question begins with [ENC] and is
cleaned as in BLIP's training. Differs from the published code: gradients reach the image, noun phrases are found by
rule, and the picture is read at the size that the checkpoint's folder says (384 pixels; T2I-CompBench's is 480).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from plaudit.core.errors import BadConfig
from plaudit.rewards.noun_phrases import noun_phrases
from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, normalise

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
WORDS = 50
"""words of a question that are read, as in BLIP's training"""


@dataclass(frozen=True, kw_only=True)
class VqaProtocol:
    """What is asked of a prompt, and what is made of the answers."""

    questions: Callable[[str], Sequence[str]]
    """at least one for each prompt"""
    against_no: bool
    """P(yes) / (P(yes) + P(no)), else P(yes) among all tokens"""
    max_tokens: int
    """of a question; what goes beyond is cut"""
    total: Literal["product", "mean", "all"] = "product"
    """of the questions' scores; "all" is 1 if each is above a half, else 0, and has no gradient"""


def ask_each_phrase(prompt: str) -> list[str]:
    """BLIP-VQA's questions."""
    return [f"{phrase}?" for phrase in noun_phrases(prompt)]


def ask_whole(prompt: str) -> list[str]:
    """VQAScore's question."""
    return [f'Does this figure show "{prompt}"? Please answer yes or no.']


PROTOCOLS = {
    "blip-vqa": VqaProtocol(questions=ask_each_phrase, against_no=True, max_tokens=35),
    "vqascore": VqaProtocol(questions=ask_whole, against_no=False, max_tokens=128),
}


class BlipVqa:
    """P(yes) of a BlipForQuestionAnswering, 0 to 1, higher is better. Keeps the Reward contract."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        protocol: VqaProtocol = PROTOCOLS["blip-vqa"],
        normalisation: tuple[Sequence[float], Sequence[float]] = (CLIP_MEAN, CLIP_STD),
        checkpointing: bool = False,
    ) -> None:
        """`normalisation`: the channels' mean and spread. Raises BadConfig if "yes" or "no" is no single token."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.protocol = protocol
        self.differentiable = protocol.total != "all"
        self.checkpointing = checkpointing
        self._mean, self._std = normalisation
        self._yes, self._no = (_only_token(tokenizer, word) for word in ("yes", "no"))
        self._questions: dict[str, list[list[int]]] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        protocol: str | VqaProtocol = "blip-vqa",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        checkpointing: bool = False,
    ) -> Self:
        """The reward of a BlipForQuestionAnswering folder, frozen. Raises BadConfig if it does not hold one."""
        from transformers import BertTokenizer, BlipForQuestionAnswering

        if isinstance(protocol, str) and protocol not in PROTOCOLS:
            raise BadConfig(f"no protocol {protocol!r} for BLIP; there are {', '.join(PROTOCOLS)}")
        folder = Path(folder)
        _check_files(folder)
        model, loaded = BlipForQuestionAnswering.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        # Old checkpoints carry this buffer of 0, 1, 2, ...; it is not a weight.
        unknown = sorted(key for key in loaded["unexpected_keys"] if not key.endswith("position_ids"))
        missing = sorted(loaded["missing_keys"])
        if missing or unknown:
            raise BadConfig(
                f"the weights of {folder} are not BLIP's for questions: {len(missing)} missing {missing[:2]}, "
                f"{len(unknown)} unknown {unknown[:2]}"
            )
        model.to(device=device, dtype=dtype or torch.float32)
        return cls(
            model,
            BertTokenizer.from_pretrained(str(folder), local_files_only=True),
            protocol=PROTOCOLS[protocol] if isinstance(protocol, str) else protocol,
            normalisation=_read_normalisation(folder),
            checkpointing=checkpointing,
        )

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts."""
        answers = self._answer_each(images, [self._tokens(prompt) for prompt in prompts])
        return torch.stack([self._total(part) for part in answers])

    def yes(self, images: Tensor, questions: Sequence[str]) -> Tensor:
        """The scores (B,) of questions, each about its own picture of images (B, 3, H, W) in [0, 1]."""
        return self._answer(self._see(images), [self._ids(question) for question in questions])

    def yes_to_each(self, images: Tensor, questions: Sequence[Sequence[str]]) -> list[Tensor]:
        """The scores (Q,) of each image's own questions, images (B, 3, H, W) in [0, 1]; an image is read once."""
        return self._answer_each(images, [[self._ids(question) for question in those] for those in questions])

    @torch.no_grad()
    def say(self, images: Tensor, questions: Sequence[str], *, max_tokens: int = 8) -> list[str]:
        """The likeliest words that answer questions, each about its own picture of images (B, 3, H, W) in [0, 1]."""
        seen, stop = self._see(images), int(self.model.config.text_config.sep_token_id)
        answers = []
        for row, question in enumerate(questions):  # one by one: `_answer` says why lengths must not be mixed
            ids = torch.tensor([self._ids(question)], device=images.device)
            said: list[int] = []
            while len(said) < max_tokens:
                found = int(self._read(seen[row : row + 1], ids, said)[0].argmax())
                if found == stop:
                    break
                said.append(found)
            answers.append(str(self.tokenizer.decode(said, skip_special_tokens=True)).strip())
        return answers

    def forget_prompts(self) -> None:
        """Empty the cache of tokenised questions."""
        self._questions.clear()

    def _answer_each(self, images: Tensor, asked: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """P(yes) of each image's questions, given as token ids."""
        rows = torch.tensor([row for row, those in enumerate(asked) for _ in those], device=images.device)
        probabilities = self._answer(self._see(images)[rows], [ids for those in asked for ids in those])
        return list(probabilities.split([len(those) for those in asked]))

    def _see(self, images: Tensor) -> Tensor:
        """The images' tokens (B, N, D); the model follows the images to their device."""
        if next(self.model.parameters()).device != images.device:
            self.model.to(images.device)
        vision = self.model.vision_model
        size = int(vision.config.image_size)
        # As published, the picture is squeezed into the square, whatever its shape.
        if images.shape[-2:] != (size, size):
            images = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True, align_corners=False)
        pixels = normalise(images.float(), self._mean, self._std)
        tokens = vision.embeddings(pixels.to(next(vision.parameters()).dtype))
        for layer in vision.encoder.layers:
            tokens = self._run(layer, tokens)
        return vision.post_layernorm(tokens)

    def _answer(self, image_tokens: Tensor, questions: Sequence[Sequence[int]]) -> Tensor:
        """P(yes) (Q,) float32 of questions, each about its own row of image tokens (Q, N, D).

        Questions of one length go together: the model library's cross-attention reads padding (transformers 5.23
        passes no mask on to it), so that a padded question's answer would depend on its neighbours.
        """
        device = image_tokens.device
        order: list[int] = []
        answers: list[Tensor] = []
        for length in sorted({len(ids) for ids in questions}):
            rows = [row for row, ids in enumerate(questions) if len(ids) == length]
            ids = torch.tensor([questions[row] for row in rows], device=device)
            answers.append(self._run(self._read, image_tokens[torch.tensor(rows, device=device)], ids).float())
            order += rows
        logits = torch.cat(answers)[torch.tensor(order, device=device).argsort()]
        if self.protocol.against_no:
            return (logits[:, self._yes] - logits[:, self._no]).sigmoid()
        return logits.log_softmax(dim=-1)[:, self._yes].exp()

    def _total(self, scores: Tensor) -> Tensor:
        if self.protocol.total == "all":
            return (scores > 0.5).all().float()
        return scores.mean() if self.protocol.total == "mean" else scores.prod()

    def _read(self, image_tokens: Tensor, ids: Tensor, said: Sequence[int] = ()) -> Tensor:
        """Logits (Q, V) of the next tokens of the answers to questions (Q, L), after what is said already."""
        read = self.model.text_encoder(input_ids=ids, encoder_hidden_states=image_tokens)
        begun = [int(self.model.config.text_config.bos_token_id), *said]
        start = torch.tensor([begun], device=ids.device).expand(len(ids), -1)
        answer = self.model.text_decoder(input_ids=start, encoder_hidden_states=read.last_hidden_state, use_cache=False)
        return answer.logits[:, -1]

    def _run(self, part: Any, *inputs: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def _tokens(self, prompt: str) -> list[list[int]]:
        """Each question's token ids; tokenised once in the life of this reward."""
        if prompt not in self._questions:
            self._questions[prompt] = [self._ids(question) for question in self.protocol.questions(prompt)]
        return self._questions[prompt]

    def _ids(self, question: str) -> list[int]:
        text = self.model.config.text_config
        longest = min(self.protocol.max_tokens, int(text.max_position_embeddings))
        ids: list[int] = self.tokenizer(clean_question(question), truncation=True, max_length=longest)["input_ids"]
        # BLIP was trained with two tokens more than BERT's: [DEC], which begins answers, and then [ENC].
        encode = int(text.bos_token_id) + 1
        return [encode, *ids[1:]] if encode < int(text.vocab_size) else ids


def load_blip(folder: Path, *, protocol: str, device: torch.device | str | None = None) -> BlipVqa:
    """A table row's reward; activations are recomputed in the backward pass, as real sizes need."""
    return BlipVqa.from_pretrained(folder, protocol=protocol, device=device, checkpointing=True)


def clean_question(question: str) -> str:
    """The question as BLIP was trained to read it: lower case, without most punctuation, 50 words at most."""
    return " ".join(re.sub(r"[.!\"()*#:;~]", "", question.lower()).split()[:WORDS])


def _only_token(tokenizer: Any, word: str) -> int:
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise BadConfig(f"the tokenizer does not know {word!r} as one token, so that its probability cannot be read")
    return int(ids[0])


def _check_files(folder: Path) -> None:
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    if config.get("model_type") != "blip" or "BlipForQuestionAnswering" not in config.get("architectures", ()):
        raise BadConfig(
            f"{folder} is no BLIP that answers questions: it needs a config.json with model_type 'blip' and "
            "architectures ['BlipForQuestionAnswering']"
        )
    if not (folder / "model.safetensors").is_file():
        raise BadConfig(f"{folder} has no model.safetensors")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadConfig(f"{folder} has no tokenizer: it needs {' or '.join(TOKENIZER_FILES)}")


def _read_normalisation(folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    return settings.get("image_mean", CLIP_MEAN), settings.get("image_std", CLIP_STD)
