"""A judge behind HTTP: any model that sees pictures, on any server that speaks OpenAI's chat protocol.

The same protocols as the Qwen2.5-VL judge here. P(Yes) is read from the log probabilities of the answer's first
token; from a server that tells none, the answer's word counts, as 0 or 1. Of requirements the words alone count: the
score is the share of yes among the answers that are yes or no. Several questions are under way at once.
Nothing is unpickled, no gradient comes back, and the picture leaves this machine as a PNG.
"""

import io
import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.core.errors import BadConfig
from plaudit.rewards.chat_server import ChatAnswer, ChatServer, RefusedRequest
from plaudit.rewards.verdicts import (
    MAX_ANSWER_TOKENS,
    NEUTRAL,
    SMALLEST_SIDE,
    Tally,
    check_invalid_score,
    check_protocol,
    questions_for,
    read_boxed,
    read_yes_or_no,
)

URL_VARIABLE, MODEL_VARIABLE = "PLAUDIT_JUDGE_URL", "PLAUDIT_JUDGE_MODEL"
LIKELIEST = 20
"""first tokens whose probabilities are asked for: as many as servers tell"""
WORD_TOKENS = 8
"""of an answer whose word counts: there may be a mark or two before it"""
LEAST_DECIDED = 0.01
"""together, Yes and No must have that probability; a judge that would rather say something else has no verdict"""


class HttpJudge:
    """A chat server's verdicts as a reward, 0 to 1. Keeps the Reward contract if the server answers alike to alike.

    `tally` counts answers without a verdict. A question that gets one is put `reasks` times more, at temperature 1;
    then the picture scores `invalid_score`, or what its other requirements say, if any of them was answered. A server
    that fails, unlike a judge without a verdict, stops the run.
    """

    differentiable = False

    def __init__(
        self,
        server: ChatServer,
        *,
        protocol: str = "yes",
        at_once: int = 8,
        reasks: int = 1,
        invalid_score: float | None = NEUTRAL,
        max_tokens: int = MAX_ANSWER_TOKENS,
    ) -> None:
        """`at_once`: questions under way together. `invalid_score` None makes an answer without verdict an error.

        `max_tokens` bounds a boxed answer with its reasoning. Raises BadConfig for an unknown protocol.
        """
        if at_once < 1 or reasks < 0:
            raise BadConfig(
                f"a judge needs at least one question at once and no negative reasks, got {at_once}, {reasks}"
            )
        self.server = server
        self.protocol = check_protocol(protocol)
        self.at_once = at_once
        self.reasks = reasks
        self.invalid_score = check_invalid_score(invalid_score)
        self.max_tokens = max_tokens
        self.tally = Tally()
        self.identity = f"{server.url}|{server.model}|{protocol}|{reasks}|{invalid_score}|{max_tokens}"
        self._tells_probabilities = True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1] against their prompts.

        Raises ServerFailed or RefusedRequest with one sentence, NoVerdict if `invalid_score` is None.
        """
        pictures = [as_png(image) for image in images]
        stop = threading.Event()
        asked = [questions_for(prompt, self.protocol) for prompt in prompts]
        pool = ThreadPoolExecutor(max_workers=min(self.at_once, max(1, sum(map(len, asked)))))
        try:
            waiting = [
                [pool.submit(self._verdict, picture, question, stop) for question in those]
                for picture, those in zip(pictures, asked, strict=True)
            ]
            answers = [[it.result() for it in those] for those in waiting]
        finally:
            # After an error or Ctrl-C nothing new is asked and no try repeated; questions under way run out.
            stop.set()
            pool.shutdown(wait=False)
        judge = f"{self.server.model} at {self.server.url}"
        verdicts = self.tally.shares(answers, judge=judge)
        scores = self.tally.settle(verdicts, invalid_score=self.invalid_score, judge=judge)
        return torch.tensor(scores, dtype=torch.float32, device=images.device)

    def _verdict(self, picture: bytes, question: str, stop: threading.Event) -> float | None:
        for attempt in range(1 + self.reasks):
            if stop.is_set():
                return None
            if attempt:
                self.tally.ask_again()
            answer = self._ask(question, picture, attempt, stop)
            verdict = self._read(answer)
            if verdict is not None:
                return verdict
        return None

    def _read(self, answer: ChatAnswer) -> float | None:
        if self.protocol == "yes":
            return read_first_token(answer)
        return (read_boxed if self.protocol == "boxed" else read_yes_or_no)(answer.text)

    def _ask(self, question: str, picture: bytes, attempt: int, stop: threading.Event) -> ChatAnswer:
        settings = self._settings(attempt)
        try:
            return self.server.ask(question, picture, settings, stop)
        except RefusedRequest as refusal:
            # What this question asked for counts: another, under way beside it, may have been refused first.
            if "logprobs" not in str(refusal) or "logprobs" not in settings:
                raise
            self._tells_probabilities = False
            return self.server.ask(question, picture, self._settings(attempt), stop)

    def _settings(self, attempt: int) -> Mapping[str, Any]:
        """The likeliest answer first; asked again in the same way, a judge would say the same."""
        how: dict[str, Any] = {"temperature": 1.0, "seed": attempt} if attempt else {"temperature": 0.0}
        if self.protocol != "yes":
            return {**how, "max_tokens": self.max_tokens if self.protocol == "boxed" else WORD_TOKENS}
        told = {"logprobs": True, "top_logprobs": LIKELIEST} if self._tells_probabilities else {}
        return {**how, "max_tokens": 1, **told}


def read_first_token(answer: ChatAnswer) -> float | None:
    """P(Yes) of an answer, 0..1, from its first token's probabilities, else from its word; None if it is neither."""
    if answer.first is None:
        return read_yes_or_no(answer.text)
    probability = {"yes": 0.0, "no": 0.0}
    for token, logarithm in answer.first.items():
        word = token.strip().lower()
        if word in probability:
            probability[word] += math.exp(min(logarithm, 0.0))
    return min(1.0, probability["yes"]) if sum(probability.values()) >= LEAST_DECIDED else None


def as_png(image: Tensor) -> bytes:
    """The PNG file of an image (3, H, W) in [0, 1], its shorter side enlarged to 512 pixels if it has fewer."""
    from PIL import Image

    height, width = image.shape[-2:]
    pixels = image.detach().float()[None]
    if min(height, width) < SMALLEST_SIDE:
        scale = SMALLEST_SIDE / min(height, width)
        pixels = F.interpolate(pixels, (round(height * scale), round(width * scale)), mode="bicubic", antialias=True)
    array = (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(array, "RGB").save(file, "PNG", compress_level=1)  # the time counts, not the bytes
    return file.getvalue()


def load_http_judge(*, protocol: str, invalid_score: float | None = NEUTRAL, **_: object) -> HttpJudge:
    """A table row's judge, of the server and the model that the environment names; the device does not matter.

    Raises BadConfig if it does not name both.
    """
    url, model = os.environ.get(URL_VARIABLE, ""), os.environ.get(MODEL_VARIABLE, "")
    missing = [name for name, value in ((URL_VARIABLE, url), (MODEL_VARIABLE, model)) if not value.strip()]
    if missing:
        raise BadConfig(
            f"the HTTP judge needs the environment variable{'s' if missing[1:] else ''} {' and '.join(missing)}: the "
            "server's address, like http://localhost:8000/v1, and its model's name"
        )
    return HttpJudge(ChatServer(url=url.strip(), model=model.strip()), protocol=protocol, invalid_score=invalid_score)
