"""The four tasks of RLCM (Oertell et al. 2024, arXiv 2404.03673), each with where its numbers come from.

The paper's own settings are `compression` to `alignment`, for LCM-Dreamshaper at 768 pixels on 4 GPUs; `pocket_...` are
ours, for the pocket world on two CPU cores.
"""

from dataclasses import replace

from plaudit.methods.rlcm import RlcmConfig
from plaudit.presets.task import Task

ANIMALS = (
    "cat", "dog", "horse", "monkey", "rabbit", "zebra", "spider", "bird", "sheep", "deer", "cow", "goat", "lion",
    "tiger", "bear", "raccoon", "fox", "wolf", "lizard", "beetle", "ant", "butterfly", "fish", "shark", "whale",
    "dolphin", "squirrel", "mouse", "rat", "snake", "turtle", "frog", "chicken", "duck", "goose", "bee", "pig",
    "turkey", "fly", "llama", "camel", "bat", "gorilla", "hedgehog", "kangaroo",
)  # fmt: skip
"""the 45 common animals of the aesthetic task (the same as DDPO's, Black et al. 2023)"""
ACTIVITIES = ("washing the dishes", "riding a bike", "playing chess")

# Held-out rewards of the paper's tasks, ours: it watched none. None shares a network with what is trained on, or it
# would be fooled by the same pictures. A file's size has none, and forgets the animal first: CLIP sees whether it is
# still there. The aesthetic head sits on CLIP ViT-L/14, the captioner is Qwen2.5-VL: ImageReward sits on BLIP, and
# reads the prompt.
_STILL_THERE, _ON_BLIP = "clip-vit-l14", "imagereward-v1"

_DREAMSHAPER = "lcm-dreamshaper"
_TABLE = "Oertell et al. 2024, table 1, for LCM-Dreamshaper at 768 pixels on 4 GPUs"
_OURS = "ours, for the pocket world on two CPU cores"

_PAPER = RlcmConfig(
    updates=1000, prompts_per_update=16, images_per_prompt=1, comparison="running", buffer_size=16, min_count=16,
    lr=1e-4, decay="linear", decay_to=2 / 3, clip=3.7, advantage_clip=10.0, grad_clip=5.0, batch_size=4,
)  # fmt: skip


def compression() -> Task:
    """Table 1's column; its 398 animals of ImageNet are given by --prompts, else the 45 common ones."""
    return Task(
        model=_DREAMSHAPER, rewards=("compressibility:1",),
        held_out=_STILL_THERE, prompts=ANIMALS, rank=16, alpha=32.0, config=_PAPER,
        origin=_TABLE,
    )  # fmt: skip


def incompression() -> Task:
    """Table 1's column; prompts as for `compression`."""
    return replace(compression(), rewards=("incompressibility:1",))


def aesthetic() -> Task:
    """Table 1's column: 32 images an update, a LoRA of rank 8."""
    config = replace(_PAPER, prompts_per_update=32, buffer_size=32, batch_size=8)
    return Task(
        model=_DREAMSHAPER, rewards=("laion-aesthetic-v2:1",),
        held_out=_ON_BLIP, prompts=ANIMALS, rank=8, alpha=8.0, config=config,
        origin=_TABLE,
    )  # fmt: skip


def alignment() -> Task:
    """Table 1's column: 120 images an update; the paper's rate, not the released file's 4e-4.

    The captioner is a Qwen2.5-VL, where the paper had a LLaVA of 13B; the text and its score are the paper's.
    """
    config = replace(_PAPER, updates=708, prompts_per_update=120, buffer_size=32, batch_size=8)
    prompts = tuple(f"{_article(animal)} {animal} {activity}" for animal in ANIMALS for activity in ACTIVITIES)
    return Task(
        model=_DREAMSHAPER, rewards=("caption-recall:1",),
        held_out=_ON_BLIP, prompts=prompts, rank=16, alpha=32.0, config=config,
        origin=_TABLE,
    )  # fmt: skip


_POCKET = RlcmConfig(updates=60, prompts_per_update=16, images_per_prompt=4, comparison="group", lr=2e-3, batch_size=64)


def pocket_compression() -> Task:
    """Ours: single things, whose pictures' files become smaller."""
    return Task(
        model="pocket-lcm", rewards=("compressibility:1",),
        held_out="clip", prompts=things(), rank=16, alpha=32.0, config=_POCKET,
        origin=_OURS,
    )  # fmt: skip


def pocket_incompression() -> Task:
    """Ours: the same, larger."""
    return replace(pocket_compression(), rewards=("incompressibility:1",))


def pocket_aesthetic() -> Task:
    """Ours: pocket-hps stands for the aesthetic head; on counts, where its score leaves room above the models'."""
    return replace(pocket_compression(), rewards=("hps:1",), held_out="imagereward", prompts=counts())


def pocket_alignment() -> Task:
    """Ours: pairs of things and where they lie, judged by pocket-clip; pocket-imagereward is held out."""
    return replace(pocket_compression(), rewards=("clip:1",), held_out="imagereward", prompts=relations())


TASKS = {
    it.__name__.replace("_", "-"): it
    for it in (
        compression, incompression, aesthetic, alignment,
        pocket_compression, pocket_incompression, pocket_aesthetic, pocket_alignment,
    )
}  # fmt: skip


def things() -> tuple[str, ...]:
    """A prompt for every shape in every colour."""
    from plaudit.pocket.scenes import COLOURS, SHAPES

    return tuple(f"{_article(colour)} {colour} {shape}" for colour in COLOURS for shape in SHAPES)


def counts() -> tuple[str, ...]:
    """Two to four of every shape in every colour, the number changing from one to the next."""
    from plaudit.pocket.scenes import COLOURS, SHAPES

    return tuple(
        f"{('two', 'three', 'four')[(i + j) % 3]} {colour} {shape}{'es' if shape.endswith('s') else 's'}"
        for i, colour in enumerate(COLOURS)
        for j, shape in enumerate(SHAPES)
    )


def relations() -> tuple[str, ...]:
    """A prompt for every pair of shapes, in colours and places that change from pair to pair.

    Combinations that are held out of all training are left out here too.
    """
    from plaudit.pocket.scenes import COLOURS, SHAPES, is_held_out

    words = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
    colours, found = list(COLOURS), []
    for i, first in enumerate(SHAPES):
        for j, second in enumerate(SHAPES):
            place = list(words)[(i + j) % 4]
            one, other = colours[(i + 2 * j) % len(colours)], colours[(3 * i + j + 1) % len(colours)]
            if not is_held_out((first, one), (second, other), place):
                found.append(f"{_article(one)} {one} {first} {words[place]} {_article(other)} {other} {second}")
    return tuple(found)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
