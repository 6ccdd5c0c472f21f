"""What pocket-janus understands of pictures, and how it learns that: a tower that sees, and questions about scenes.

The tower learns what pocket-vqa's sees, and to say it: what the language model is shown of a patch has to be like the
words for what lies there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plaudit.core.devices import fast_autocast
from plaudit.generators.janus import Janus
from plaudit.generators.janus_reading import positions_of
from plaudit.generators.token_reading import looks
from plaudit.pocket.build.clip import patch_answers
from plaudit.pocket.build.loop import Draws, Plan, Progress, Trainee, train
from plaudit.pocket.build.pictures import normalised, spoilt
from plaudit.pocket.build.vqa import varied_scene
from plaudit.pocket.questions import Question, draw_question
from plaudit.pocket.render import render
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene

LOOK_PLAN = Plan(steps=3000, batch=32, lr=3e-3, warmup=100, ema=0.998, decay=0.5, muon=True)
SAYING = 0.5
"""the weight of saying what lies at each patch"""
SHARPNESS = 10.0
"""of telling words by cosines"""
Loss = tuple[Tensor, dict[str, Tensor]]


def train_to_look(policy: Janus, teacher: nn.Module, state: Path) -> Iterator[Progress]:
    """Teach the tower what one of BLIP's, as wide, sees in each patch, and to say it; afterwards it is its average."""
    device, tower, aligner = policy.device, policy.vision_model, policy.aligner
    trainee = Trainee({"tower": tower.requires_grad_(True), "aligner": aligner.requires_grad_(True)}, LOOK_PLAN)
    teacher.to(device).eval().requires_grad_(False)

    def loss_of(draws: Draws) -> Loss:
        scenes, images = shown_scenes(policy, draws, count=LOOK_PLAN.batch)
        with fast_autocast(device):
            with torch.no_grad():
                wanted = teacher(pixel_values=normalised(images)).last_hidden_state[:, 1:].float()
            seen = seen_in(policy, images)
            shown = aligner(seen)
        missed, said = F.mse_loss(seen.float(), wanted) / wanted.var(), said_loss(policy, shown.float(), scenes)
        return missed + SAYING * said, {"missed": missed, "said": said}

    yield from train("pocket-janus-look", trainee, loss_of, state)
    trainee.use_average()
    policy.network.eval().requires_grad_(False)


def shown_scenes(policy: Janus, draws: Draws, *, count: int) -> tuple[list[Scene], Tensor]:
    """Scenes, and their pictures (B, 3, 64, 64) in [0, 1], some of them spoilt."""
    scenes = [varied_scene(draws.numpy) for _ in range(count)]
    return scenes, spoilt(render(scenes), draws).to(policy.device)


def seen_in(policy: Janus, images: Tensor) -> Tensor:
    """(B, N, D) that the tower sees in images (B, 3, 64, 64) in [0, 1]."""
    mean, spread = (torch.tensor(it, device=policy.device)[:, None, None] for it in policy.normal)
    found: Tensor = policy.vision_model((images - mean) / spread).last_hidden_state
    return found


def said_loss(policy: Janus, shown: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Cross entropy of the words for what lies at each patch, by how alike what is shown (B, N, D) and a word are.

    Without it the language model hardly learns to look where something lies that it is asked for.
    """
    embedding = policy.transformer.language_model.embed_tokens.weight.detach().float()
    lies = patch_answers(scenes).to(policy.device)
    behind = torch.tensor([list(BACKGROUNDS).index(scene.background) for scene in scenes], device=policy.device)
    things = lies[..., 0] > 0
    told = (
        (SHAPES, things, lies[..., 0] - 1),
        (COLOURS, things, lies[..., 1] - 1),
        (BACKGROUNDS, ~things, behind[:, None].expand_as(things)),
    )
    loss = torch.zeros((), device=policy.device)
    for said, where, answers in told:
        words = embedding[[policy.words.ids(word)[0] for word in said]]
        alike = F.normalize(shown[where], dim=-1) @ F.normalize(words, dim=-1).T
        loss = loss + F.cross_entropy(SHARPNESS * alike, answers[where])
    return loss


def answer_loss(
    policy: Janus,
    shown: Tensor,
    scenes: Sequence[Scene],
    draws: Draws,
    *,
    questions: int,
    kinds: Mapping[str, float] | None = None,
) -> Loss:
    """Cross entropy of answers to so many questions about each of the scenes, of which is shown (B, N, D).

    `kinds`: how often each kind is asked; None: as questions are drawn anywhere else.
    """

    def kind() -> str | None:
        return None if kinds is None else str(draws.numpy.choice(list(kinds), p=list(kinds.values())))

    asked = [[draw_question(scene, draws.numpy, kind=kind()) for _ in range(questions)] for scene in scenes]
    states, wanted = read_questions(policy, shown, asked)
    with torch.autocast(policy.device.type, enabled=False):
        logits = policy.transformer.word_logits(states.float())
    answered = F.cross_entropy(logits[:, 0], wanted[:, 0]) + 0.1 * F.cross_entropy(logits[:, 1], wanted[:, 1])
    right = (logits[:, 0].argmax(dim=-1) == wanted[:, 0]).float().mean()
    return answered, {"answers": answered, "right": right}


def read_questions(policy: Janus, shown: Tensor, asked: Sequence[Sequence[Question]]) -> tuple[Tensor, Tensor]:
    """States (B Q, 2, D) that foretell answers and their ends, to Q questions each about pictures (B, n, D); and both.

    A picture is read once: its questions stand side by side behind it, each as if it was the only one.
    """
    words, network = policy.words, policy.transformer
    assert words.end_of_image is not None
    count, each = len(shown), len(asked[0])
    signs = torch.tensor([words.begin, words.begin_of_image, words.end_of_image], device=policy.device)
    begin, end = network.embed_words(signs.expand(count, 3)).split([2, 1], dim=1)
    picture = torch.cat([begin, shown.to(begin.dtype), end], dim=1)
    rows = [[*words.ids(one.text), *words.ids(one.answer)] for many in asked for one in many]
    texts = words.padded(rows).to(policy.device)
    before, length = picture.shape[1], texts.ids.shape[1]
    row = torch.cat([picture, network.embed_words(texts.ids).view(count, each * length, -1)], dim=1)
    of = F.pad(torch.arange(each, device=policy.device).repeat_interleave(length), (before, 0), value=-1)
    seen = F.pad(texts.mask.view(count, -1), (before, 0), value=True)
    allowed = looks(0, row.shape[1], seen) & ((of == -1) | (of == of[:, None]))
    places = torch.arange(before, device=policy.device).expand(count, -1)
    positions = torch.cat([places, before + positions_of(texts.mask).view(count, -1)], dim=1)
    states = network.read(row, positions, allowed)[:, before:].unflatten(1, (each, length)).flatten(0, 1)
    ends = torch.full_like(texts.ids[:, -1], words.end)
    return states[:, -2:], torch.stack([texts.ids[:, -1], ends], dim=1)
