"""The alignment reward of DDPO (Black et al. 2023) and RLCM (Oertell et al. 2024): is the prompt in the caption?

A model that sees, and does not know the prompt, says what is going on in the picture. The score is BERTScore's recall
of "The image contains {prompt}" in its answer: how much of that sentence the answer says, more or less in its words.

The captioner is a Qwen2.5-VL in this process, or any model on a chat server; the papers' was a LLaVA of 13B behind a
server of their own. As there, it answers greedily, in at most 64 tokens.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.bert_score import BertScore
from plaudit.rewards.chat_server import ChatServer
from plaudit.rewards.http_judge import as_png, load_http_judge
from plaudit.rewards.verdicts import SMALLEST_SIDE, Tally, check_invalid_score
from plaudit.rewards.vlm_judge import QwenJudge

QUESTION = "Answer concisely: what is going on in this image?"
REFERENCE = "The image contains {prompt}"
MAX_CAPTION_TOKENS = 64


class Captioner(Protocol):
    """Says what is in pictures."""

    identity: str
    """all that decides a caption and is not in the row, as text"""

    def __call__(self, images: Tensor) -> list[str]:
        """One answer for each of the images (B, 3, H, W) in [0, 1]; empty if it said nothing."""
        ...


class QwenCaptioner:
    """A Qwen2.5-VL, which moves to the images' device."""

    def __init__(self, model: QwenJudge) -> None:
        """The model's own limit of new tokens holds."""
        self.model = model
        self.identity = f"Qwen2.5-VL|{model.max_new_tokens}"

    def __call__(self, images: Tensor) -> list[str]:
        return self.model.answers(images, QUESTION)


class ServerCaptioner:
    """A chat server, asked about several pictures at once. A picture leaves this machine as a PNG."""

    def __init__(self, server: ChatServer, *, at_once: int = 8, reasks: int = 1) -> None:
        """`reasks`: how often one that says nothing is asked again, at temperature 1."""
        if at_once < 1 or reasks < 0:
            raise BadConfig(
                f"a captioner needs at least one question at once and no negative reasks, got {at_once}, {reasks}"
            )
        self.server = server
        self.at_once = at_once
        self.reasks = reasks
        self.identity = f"{server.url}|{server.model}|{reasks}|{MAX_CAPTION_TOKENS}"

    def __call__(self, images: Tensor) -> list[str]:
        """Raises ServerFailed or RefusedRequest with one sentence."""
        pictures = [as_png(image) for image in images]
        stop = threading.Event()
        pool = ThreadPoolExecutor(max_workers=min(self.at_once, max(1, len(pictures))))
        try:
            return [it.result() for it in [pool.submit(self._caption, picture, stop) for picture in pictures]]
        finally:
            # After an error or Ctrl-C nothing new is asked and no try repeated; questions under way run out.
            stop.set()
            pool.shutdown(wait=False)

    def _caption(self, picture: bytes, stop: threading.Event) -> str:
        said = ""
        for attempt in range(1 + self.reasks):
            if said or stop.is_set():
                break
            how = {"temperature": 1.0, "seed": attempt} if attempt else {"temperature": 0.0}
            said = self.server.ask(QUESTION, picture, {**how, "max_tokens": MAX_CAPTION_TOKENS}, stop).text.strip()
        return said


class CaptionRecall:
    """BERTScore's recall of the prompt in a captioner's answer; 1 is the prompt's own words. Keeps the Reward contract.

    `tally` counts pictures that the captioner said nothing about, as without a verdict.
    """

    differentiable = False

    def __init__(self, captioner: Captioner, texts: BertScore, *, silent_score: float | None = 0.0) -> None:
        """`silent_score`: of a picture without a caption, 0 as in the published code; None makes it an error."""
        self.captioner = captioner
        self.texts = texts
        self.silent_score = check_invalid_score(silent_score)
        self.tally = Tally()
        self.identity = f"{captioner.identity}|{silent_score}"

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts.

        Raises what the captioner raises, and NoVerdict if it says nothing and `silent_score` is None.
        """
        captions = self.captioner(images.detach())
        references = [REFERENCE.format(prompt=prompt) for prompt in prompts]
        recalls = self.texts.recall(captions, references, device=images.device)
        verdicts = [recall if said.strip() else None for recall, said in zip(recalls, captions, strict=True)]
        scores = self.tally.settle(verdicts, invalid_score=self.silent_score, judge="the captioner")
        return torch.tensor(scores, dtype=torch.float32, device=images.device)


def load_caption_recall(
    *, captioner: Path, encoder: Path, layer: int, device: torch.device | str | None = None
) -> CaptionRecall:
    """A table row's reward: a Qwen2.5-VL folder, which sees pictures enlarged as the judges do, and an encoder's."""
    model = QwenJudge.from_pretrained(
        captioner, device=device, min_pixels=SMALLEST_SIDE**2, max_new_tokens=MAX_CAPTION_TOKENS
    )
    return CaptionRecall(QwenCaptioner(model), BertScore.from_pretrained(encoder, layer=layer, device=device))


def load_http_caption_recall(*, encoder: Path, layer: int, device: torch.device | str | None = None) -> CaptionRecall:
    """A table row's reward: the server and model that the environment names, as for the judge over HTTP.

    Raises BadConfig if it does not name both.
    """
    server = load_http_judge(protocol="yes").server
    return CaptionRecall(ServerCaptioner(server), BertScore.from_pretrained(encoder, layer=layer, device=device))
