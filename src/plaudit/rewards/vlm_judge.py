"""Qwen2.5-VL (Bai et al. 2025) as a judge, in this process: P(Yes) from its logits, or a boxed verdict it writes.

"yes" is the probability of the token Yes as the answer's first, among all tokens; gradients reach the image.
"requirements" is the mean of that over the things that the prompt names. "boxed" lets the model write its reasoning
(greedily) and reads the verdict at its end; it has no gradient. verdicts.py says where they come from.

The model library's processor needs torchvision; ours does not: patches are cut by tensor operations, and the chat's
frame is written here. The picture is resized, antialiased, to multiples of 28 pixels within the limits of the
folder's preprocessor_config.json, as published.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.preprocess import CLIP_MEAN, CLIP_STD, normalise
from plaudit.rewards.verdicts import (
    MAX_ANSWER_TOKENS,
    NEUTRAL,
    SMALLEST_SIDE,
    Tally,
    check_invalid_score,
    check_protocol,
    questions_for,
    read_boxed,
)

_PAD, _START, _END = "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"
_CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{image}{question}<|im_end|>\n<|im_start|>assistant\n"
)
"""the frame of Qwen2.5-VL's chats, as its tokenizer's template writes it"""
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
Framed = tuple[list[int], list[int]]
"""a question in a chat's frame: the tokens before the picture and those after it"""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """How a picture becomes rows of patches."""

    side: int = 14
    """pixels of a patch"""
    merged: int = 2
    """patches a side that become one token"""
    frames: int = 2
    """a picture counts as that many equal frames of a film"""
    min_pixels: int = 56 * 56
    """a smaller picture is enlarged to about that many"""
    max_pixels: int = 28 * 28 * 1280
    """a larger one is reduced to at most that many"""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """As a preprocessor_config.json says, in its older spelling or its newer one."""
        size = settings.get("size", {})
        return cls(
            side=settings.get("patch_size", 14),
            merged=settings.get("merge_size", 2),
            frames=settings.get("temporal_patch_size", 2),
            min_pixels=settings.get("min_pixels", size.get("shortest_edge", 56 * 56)),
            max_pixels=settings.get("max_pixels", size.get("longest_edge", 28 * 28 * 1280)),
            mean=tuple(settings.get("image_mean", CLIP_MEAN)),
            std=tuple(settings.get("image_std", CLIP_STD)),
        )

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The nearest height and width that are whole tokens and within the limits."""
        unit = self.side * self.merged
        rows, columns = round(height / unit), round(width / unit)
        if rows * columns * unit**2 > self.max_pixels:
            scale = math.sqrt(self.max_pixels / (height * width)) / unit
            rows, columns = math.floor(height * scale), math.floor(width * scale)
        elif rows * columns * unit**2 < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (height * width)) / unit
            rows, columns = math.ceil(height * scale), math.ceil(width * scale)
        return max(1, rows) * unit, max(1, columns) * unit

    def cut(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B * N, C * frames * side * side) of images (B, 3, H, W), and each image's grid (B, 3).

        The patches that become one token follow each other.
        """
        height, width = self.fit(*images.shape[-2:])
        if images.shape[-2:] != (height, width):
            images = F.interpolate(images, (height, width), mode="bicubic", antialias=True, align_corners=False)
        pixels = normalise(images, self.mean, self.std)
        rows, columns = height // self.side, width // self.side
        split = pixels.reshape(
            len(images), 3, rows // self.merged, self.merged, self.side, columns // self.merged, self.merged, self.side
        )
        ordered = split.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        repeated = ordered.expand(*ordered.shape[:6], self.frames, *ordered.shape[7:])
        grid = torch.tensor([[1, rows, columns]] * len(images), device=images.device)
        return repeated.reshape(len(images) * rows * columns, -1), grid


class QwenJudge:
    """A Qwen2_5_VLForConditionalGeneration as a reward, 0 to 1. Keeps the Reward contract.

    Differentiable in the protocols "yes" and "requirements", not in "boxed". `tally` counts answers without a verdict,
    which only "boxed" can give.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        protocol: str = "yes",
        patches: Patches | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
        invalid_score: float | None = NEUTRAL,
    ) -> None:
        """`invalid_score`: of an answer without a verdict; None makes it an error.

        Raises BadConfig for an unknown protocol, or a tokenizer that is not Qwen2.5-VL's.
        """
        self.protocol = check_protocol(protocol)
        self.differentiable = protocol != "boxed"
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.patches = patches or Patches()
        self.max_new_tokens = max_new_tokens
        self.invalid_score = check_invalid_score(invalid_score)
        self.tally = Tally()
        self._yes = self._token("Yes")
        if self._token(_PAD) != model.config.image_token_id:
            raise BadConfig("the tokenizer and the model do not agree on the token that stands for the picture")
        self._questions: dict[str, list[Framed]] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        protocol: str = "yes",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        min_pixels: int | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> Self:
        """The judge of a Qwen2.5-VL folder, frozen, in the precision that its config names if the device has that.

        `min_pixels` overrides the folder's. Raises BadConfig if the folder does not hold one.
        """
        from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

        folder = Path(folder)
        config = _read(folder / "config.json")
        if config.get("model_type") != "qwen2_5_vl":
            raise BadConfig(f"{folder} is no Qwen2.5-VL: it needs a config.json with model_type 'qwen2_5_vl'")
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise BadConfig(f"{folder} has no tokenizer: it needs {' or '.join(TOKENIZER_FILES)}")
        if not any(folder.glob("*.safetensors")):
            raise BadConfig(f"{folder} has no weights: it needs model.safetensors, whole or in parts with an index")
        model, loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype or _precision(device),
        )
        missing, unknown = sorted(loaded["missing_keys"]), sorted(loaded["unexpected_keys"])
        if missing or unknown:
            raise BadConfig(
                f"the weights of {folder} are not Qwen2.5-VL's: {len(missing)} missing {missing[:2]}, "
                f"{len(unknown)} unknown {unknown[:2]}"
            )
        model.to(device=device)
        settings = _read(folder / "preprocessor_config.json")
        return cls(
            model,
            Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True),
            protocol=protocol,
            patches=Patches.from_settings({**settings, **({"min_pixels": min_pixels} if min_pixels else {})}),
            max_new_tokens=max_new_tokens,
        )

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts."""
        if self.model.device != images.device:
            self.model.to(images.device)
        asked = [self._asked(prompt) for prompt in prompts]
        if self.protocol == "boxed":
            with torch.no_grad():
                answers = self._write(images, [question for (question,) in asked])
            verdicts = [read_boxed(answer) for answer in answers]
            scores = self.tally.settle(verdicts, invalid_score=self.invalid_score, judge="the Qwen2.5-VL judge")
            return torch.tensor(scores, dtype=torch.float32, device=images.device)
        return torch.stack([part.mean() for part in self._yes_to_each(images, asked)])

    @torch.no_grad()
    def answers(self, images: Tensor, question: str) -> list[str]:
        """What the model says when asked the same about each of the images (B, 3, H, W), each token the likeliest."""
        if self.model.device != images.device:
            self.model.to(images.device)
        return self._write(images, [self._framed(question)] * len(images))

    def forget_prompts(self) -> None:
        """Empty the cache of tokenised questions."""
        self._questions.clear()

    def _yes_to_each(self, images: Tensor, asked: Sequence[Sequence[Framed]]) -> tuple[Tensor, ...]:
        """P(Yes) to each image's own questions, as many at a time as there are images, which bounds the memory."""
        rows = torch.tensor([row for row, those in enumerate(asked) for _ in those], device=images.device)
        questions = [question for those in asked for question in those]
        found = []
        for start in range(0, len(questions), len(images)):
            now = slice(start, start + len(images))
            inputs = self._inputs(images[rows[now]], questions[now])
            logits = self.model(**inputs, logits_to_keep=1, use_cache=False).logits
            found.append(logits[:, -1].float().log_softmax(dim=-1)[:, self._yes].exp())
        return torch.cat(found).split([len(those) for those in asked])

    def _write(self, images: Tensor, questions: Sequence[Framed]) -> list[str]:
        """The model's answers, each token the likeliest."""
        inputs = self._inputs(images, questions)
        written = self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            pad_token_id=self._padding,
        )
        return self.tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def _inputs(self, images: Tensor, questions: Sequence[Framed]) -> dict[str, Tensor]:
        """What the model reads. Questions are padded on the left, so that all end at the last token."""
        patches, grid = self.patches.cut(images.float())
        pictured = int(grid[0].prod()) // self.patches.merged**2
        rows = []
        for before, after in questions:
            rows.append([*before, *[self.model.config.image_token_id] * pictured, *after])
        length = max(map(len, rows))
        ids = torch.tensor([[*[self._padding] * (length - len(row)), *row] for row in rows], device=images.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=images.device)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
            "pixel_values": patches.to(self.model.dtype),
            "image_grid_thw": grid,
        }

    def _asked(self, prompt: str) -> list[Framed]:
        """What is asked of a prompt; tokenised once in the life of this judge."""
        if prompt not in self._questions:
            # A prompt cannot end the question and answer it itself: its marks of the frame are broken up.
            questions = questions_for(prompt.replace("<|", "< |"), self.protocol)
            self._questions[prompt] = [self._framed(question) for question in questions]
        return self._questions[prompt]

    def _framed(self, question: str) -> Framed:
        """A question in a chat's frame."""
        text = _CHAT.format(image=f"{_START}{_PAD}{_END}", question=question)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        place = ids.index(self.model.config.image_token_id)
        return ids[:place], ids[place + 1 :]

    @property
    def _padding(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def _token(self, text: str) -> int:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise BadConfig(f"the tokenizer is not Qwen2.5-VL's: it reads {text!r} as {len(ids)} tokens, not as one")
        return int(ids[0])


def load_qwen_judge(
    folder: Path,
    *,
    protocol: str,
    device: torch.device | str | None = None,
    invalid_score: float | None = NEUTRAL,
) -> QwenJudge:
    """A table row's judge: as of the folder, but pictures are enlarged as ReasonGen-R1 does."""
    judge = QwenJudge.from_pretrained(folder, protocol=protocol, device=device, min_pixels=SMALLEST_SIDE**2)
    judge.invalid_score = check_invalid_score(invalid_score)
    return judge


def _precision(device: torch.device | str | None) -> torch.dtype:
    """The weights' own bfloat16 where the device multiplies it natively, else float32."""
    from plaudit.core.devices import has_fast_bfloat16

    place = torch.device(device) if device is not None else torch.get_default_device()
    return torch.bfloat16 if has_fast_bfloat16(place) else torch.float32


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.is_file() else {}
