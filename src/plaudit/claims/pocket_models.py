"""How good each pocket model must be, and the measuring of it. Run on a model's installed folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from plaudit.core.random_streams import noise_for
from plaudit.generators.generator import NoiseGenerator
from plaudit.generators.janus import Janus
from plaudit.generators.janus_answers import yes_probability
from plaudit.generators.janus_files import load_janus
from plaudit.generators.lcm import LatentConsistency
from plaudit.generators.llamagen_files import load_llamagen
from plaudit.generators.pixart import PixArtAlpha
from plaudit.generators.plan_generator import PlanGenerator
from plaudit.generators.plan_policy import PlanSampling
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.table import GENERATORS
from plaudit.generators.token_generator import TokenGenerator
from plaudit.generators.token_policy import Sampling
from plaudit.pocket.build.clip import Pictures
from plaudit.pocket.build.loop import draws_for
from plaudit.pocket.build.negatives import false_requests
from plaudit.pocket.build.preference import draw_choices
from plaudit.pocket.folders import WEIGHTS, pocket_folder
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import Request, describe, parse, say
from plaudit.pocket.questions import SHORT, YES_OR_NO, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import Scene, draw_scene
from plaudit.pocket.vqa_judge import PROTOCOLS
from plaudit.rewards.clip_towers import ClipTowers
from plaudit.rewards.image_reward import ImageReward
from plaudit.rewards.reward import Reward
from plaudit.rewards.vqa_score import BlipVqa
from plaudit.suites.run import draw_and_judge, pocket, rows_to_draw, score

HARD_NEGATIVES = 8
IMAGES_PER_PROMPT = 4
"""PocketEval's own number; with one, a model's accuracy moves by several hundredths with the noises"""
IMAGES_PER_CLASS = 16
LCM_BARS = {1: 0.40, 2: 0.50, 4: 0.60, 8: 0.65}
"""least accuracy of the latent consistency model, by steps"""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured quality of a pocket model and the range it must lie in."""

    model: str
    what: str
    value: float
    low: float
    high: float = 1.0

    @property
    def met(self) -> bool:
        return self.low <= self.value <= self.high


def measure(name: str, *, root: Path = WEIGHTS) -> list[Score]:
    """The model's scores against its bars."""
    return _MEASURES[name](name, root)


def autoencoder_score(generator: StableDiffusion, *, count: int = 1000) -> float:
    """The share of scenes that the judge still finds right after encoding and decoding."""
    draws = draws_for("bar-autoencoder", 0)
    scenes = [draw_scene(draws.numpy) for _ in range(count)]
    requests = [describe(scene, draws.numpy)[1] for scene in scenes]
    right = 0
    for start in range(0, count, 100):
        images = render(scenes[start : start + 100]).to(generator.device) * 2 - 1
        with torch.no_grad():
            latents = generator.vae.encode(images).latent_dist.mean * generator.vae.config.scaling_factor
            decoded = generator.decode(latents)
        right += sum(v.right for v in judge(decoded, requests[start : start + 100]))
    return right / count


def pocket_eval_score(generator: NoiseGenerator) -> float:
    """PocketEval's accuracy."""
    suite = pocket()
    rows = rows_to_draw(suite, num_prompts=None, images_per_prompt=IMAGES_PER_PROMPT)
    batches = draw_and_judge(suite, generator, rows, images_per_prompt=IMAGES_PER_PROMPT)
    accuracy = score([one for judged, _ in batches for one in judged]).accuracy
    assert accuracy is not None, "the judge knows right from wrong"
    return accuracy.value


def hard_negative_score(reward: Reward, *, count: int = 500) -> float:
    """The share of scenes whose own prompt scores above HARD_NEGATIVES near misses of it."""
    draws = draws_for("bar-hard-negatives", 0)
    right = 0
    for _ in range(count):
        scene = draw_scene(draws.numpy)
        text, request = describe(scene, draws.numpy)
        misses = false_requests(scene, request, draws.numpy, HARD_NEGATIVES)
        texts = [text, *(say(miss, draws.numpy) for miss in misses)]
        with torch.no_grad():
            scores = reward(render([scene]).expand(len(texts), -1, -1, -1), texts)
        right += bool(scores[0] > scores[1:].max())
    return right / count


def ordering_score(reward: Reward, *, count: int = 1000) -> float:
    """The share of held-out pairs of pictures whose better one scores higher; the worse is a near miss."""
    draws = draws_for("bar-pairs", 0)
    fresh = [draw_scene(draws.numpy) for _ in range(64)]
    pictures = Pictures(fresh, (render(fresh) * 255).round().byte(), torch.device("cpu"))
    right: list[Tensor] = []
    for _ in range(count // 50):
        choices = draw_choices(pictures, pictures, draws, 50, 0.0)
        with torch.no_grad():
            right.append(reward(choices.better, choices.prompts) > reward(choices.worse, choices.prompts))
    return float(torch.cat(right).float().mean())


def _measure_base(name: str, root: Path) -> list[Score]:
    facts = GENERATORS.find(name).facts
    steps, guidance = facts["steps"], facts["guidance"]
    generator = StableDiffusion.from_pretrained(pocket_folder(name, root=root), steps=steps, guidance=guidance)
    overall = pocket_eval_score(generator)
    return [
        Score(model=name, what="autoencoder: scenes judged right", value=autoencoder_score(generator), low=0.98),
        Score(model=name, what=f"PocketEval, {steps} steps, guidance {guidance:g}", value=overall, low=0.80),
    ]


def _measure_one_step(name: str, root: Path) -> list[Score]:
    folder = pocket_folder(name, root=root)
    family = PixArtAlpha if name == "pocket-pixart" else StableDiffusion
    generator: NoiseGenerator = family.from_pretrained(folder, steps=1)
    overall = pocket_eval_score(generator)
    return [Score(model=name, what="PocketEval, 1 step", value=overall, low=0.40, high=0.75)]


def _measure_lcm(name: str, root: Path) -> list[Score]:
    folder, guidance = pocket_folder(name, root=root), GENERATORS.find(name).facts["guidance"]
    scores = []
    for steps, low in LCM_BARS.items():
        generator = LatentConsistency.from_pretrained(folder, steps=steps, guidance=guidance)
        what = f"PocketEval, {steps} step{'s' if steps > 1 else ''}"
        scores.append(Score(model=name, what=what, value=pocket_eval_score(generator), low=low))
    return scores


class _Encodes(Protocol):
    """Pictures to tokens and back."""

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, tokens: Tensor) -> Tensor: ...


def tokenizer_score(tokenizer: _Encodes, *, count: int = 1000) -> float:
    """The share of scenes that the judge still finds right after they were tokens."""
    draws = draws_for("bar-autoencoder", 0)
    scenes = [draw_scene(draws.numpy) for _ in range(count)]
    requests = [describe(scene, draws.numpy)[1] for scene in scenes]
    right = 0
    for start in range(0, count, 100):
        with torch.no_grad():
            decoded = tokenizer.decode(tokenizer.encode(render(scenes[start : start + 100])))
        right += sum(v.right for v in judge(decoded, requests[start : start + 100]))
    return right / count


def class_score(generator: NoiseGenerator, names: Sequence[str]) -> float:
    """The share of pictures that show their class, of IMAGES_PER_CLASS for each."""
    prompts = [name for name in names for _ in range(IMAGES_PER_CLASS)]
    right = 0
    for start in range(0, len(prompts), 64):
        part = prompts[start : start + 64]
        noise = noise_for([("bar-classes", start + row) for row in range(len(part))], generator.noise_shape)
        with torch.no_grad():
            images = generator.sample(noise, generator.encode(part))
        right += sum(v.right for v in judge(images, [_asked(prompt) for prompt in part]))
    return right / len(prompts)


def _asked(prompt: str) -> Request:
    request = parse(prompt)
    assert request is not None, f"{prompt!r} names no class of the pocket world"
    return request


def _measure_llamagen(name: str, root: Path) -> list[Score]:
    policy = load_llamagen(pocket_folder(name, root=root))
    guidance = GENERATORS.find(name).facts["guidance"]
    generator = TokenGenerator(policy, Sampling(guidance=guidance))
    if policy.text_encoder is not None:
        what = f"PocketEval, guidance {guidance:g}"
        return [Score(model=name, what=what, value=pocket_eval_score(generator), low=0.40)]
    recalled, shown = tokenizer_score(policy.image_tokenizer), class_score(generator, policy.classes.names)
    return [
        Score(model=name, what="tokens: scenes judged right", value=recalled, low=0.95),
        Score(model=name, what=f"classes judged right, guidance {guidance:g}", value=shown, low=0.85),
    ]


def _measure_clip(name: str, root: Path) -> list[Score]:
    reward = ClipTowers.from_pretrained(pocket_folder(name, root=root))
    if name == "pocket-clip":
        what = f"own prompt above {HARD_NEGATIVES} near misses"
        return [Score(model=name, what=what, value=hard_negative_score(reward), low=0.90)]
    return [Score(model=name, what="held-out pairs in order", value=ordering_score(reward), low=0.90)]


def _measure_image_reward(name: str, root: Path) -> list[Score]:
    reward = ImageReward.from_pretrained(pocket_folder(name, root=root))
    return [Score(model=name, what="held-out pairs in order", value=ordering_score(reward), low=0.90)]


def answers_score(reward: BlipVqa, kind: str, *, count: int = 1000) -> float:
    """The share of questions of one kind that are answered right, about scenes that no training shows.

    Pairs of objects stand in held-out combinations. A yes-or-no answer is the likelier of the two.
    """
    draws = draws_for(f"bar-questions-{kind}", 0)
    right = 0
    for _ in range(count // 50):
        scenes: list[Scene] = []
        questions = []
        while len(scenes) < 50:
            scene = draw_scene(draws.numpy, kind="pair" if kind == "relation" else None, held_out=True)
            question = draw_question(scene, draws.numpy, kind=kind)
            if question.kind == kind:  # some scenes have no question of the kind
                scenes.append(scene)
                questions.append(question)
        texts = [question.text for question in questions]
        with torch.no_grad():
            if kind in YES_OR_NO:
                answers = ["yes" if p > 0.5 else "no" for p in reward.yes(render(scenes), texts).tolist()]
            else:
                answers = reward.say(render(scenes), texts)
        right += sum(answer == question.answer for answer, question in zip(answers, questions, strict=True))
    return right / (count // 50 * 50)


def judge_score(reward: BlipVqa, *, count: int = 500) -> float:
    """The share of prompts that are judged right by all answers together: half are true, half near misses."""
    draws = draws_for("bar-vqa-judge", 0)
    right = 0
    for _ in range(count):
        scene = draw_scene(draws.numpy, held_out=True)
        text, request = describe(scene, draws.numpy)
        miss = say(false_requests(scene, request, draws.numpy, 1)[0], draws.numpy)
        with torch.no_grad():
            scores = reward(render([scene]).expand(2, -1, -1, -1), [text, miss])
        right += int(scores[0] > 0.5) + int(scores[1] <= 0.5)
    return right / (2 * count)


def _measure_vqa(name: str, root: Path) -> list[Score]:
    reward = BlipVqa.from_pretrained(pocket_folder(name, root=root), protocol=PROTOCOLS["hard"])
    scores = [
        Score(model=name, what=f"answers right: {kind}", value=answers_score(reward, kind), low=low)
        for kinds, low in ((YES_OR_NO, 0.95), (SHORT, 0.90))
        for kind in kinds
    ]
    judged = judge_score(reward)
    return [*scores, Score(model=name, what="prompts judged right, half of them near misses", value=judged, low=0.90)]


def understood(policy: Janus, *, count: int = 1000) -> list[bool]:
    """Whether each of `count` yes-or-no questions is answered right, about scenes that no training shows.

    The same ones every time, and of fewer the first; fifty at once, so that `count` is rounded down to fifties.
    """
    draws = draws_for("bar-understanding", 0)
    right: list[bool] = []
    for _ in range(count // 50):
        scenes = [draw_scene(draws.numpy, held_out=True) for _ in range(50)]
        asked = [draw_question(scene, draws.numpy, kind=YES_OR_NO[i % 4]) for i, scene in enumerate(scenes)]
        found = yes_probability(policy, render(scenes), [question.text for question in asked])
        said = ["yes" if p > 0.5 else "no" for p in found.tolist()]
        right += [answer == question.answer for answer, question in zip(said, asked, strict=True)]
    return right


def understanding_score(policy: Janus) -> float:
    """The share of questions that the model understood."""
    right = understood(policy)
    return sum(right) / len(right)


class _Tokens:
    """A Janus's pictures to tokens and back."""

    def __init__(self, policy: Janus) -> None:
        self.encode, self.decode = policy.encode_images, policy.decode


def _measure_janus(name: str, root: Path) -> list[Score]:
    policy = load_janus(pocket_folder(name, root=root))
    guidance = GENERATORS.find(name).facts["guidance"]
    image = Sampling(guidance=guidance)
    drawn = {
        how: pocket_eval_score(PlanGenerator(policy, PlanSampling(image=image, plan=how == "after a plan")))
        for how in ("at once", "after a plan")
    }
    return [
        Score(model=name, what="tokens: scenes judged right", value=tokenizer_score(_Tokens(policy)), low=0.95),
        Score(model=name, what="yes-or-no questions answered right", value=understanding_score(policy), low=0.85),
        *(
            Score(model=name, what=f"PocketEval, {how}, guidance {guidance:g}", value=value, low=0.40)
            for how, value in drawn.items()
        ),
    ]


_MEASURES: dict[str, Callable[[str, Path], list[Score]]] = {
    "pocket-base": _measure_base,
    "pocket-turbo": _measure_one_step,
    "pocket-lcm": _measure_lcm,
    "pocket-pixart": _measure_one_step,
    "pocket-clip": _measure_clip,
    "pocket-hps": _measure_clip,
    "pocket-pickscore": _measure_clip,
    "pocket-imagereward": _measure_image_reward,
    "pocket-vqa": _measure_vqa,
    "pocket-llamagen": _measure_llamagen,
    "pocket-llamagen-t2i": _measure_llamagen,
    "pocket-janus": _measure_janus,
}
