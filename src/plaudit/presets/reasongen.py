"""Settings for ReasonGen-R1 (Zhang et al. 2025, arXiv 2505.24875): lessons in planning, and GRPO on plans and pictures.

The paper's own tables could not be had: numbers that are called the script's are those of its released code.
"""

from dataclasses import dataclass, replace

from plaudit.methods.plan_sft import PlanSftConfig
from plaudit.methods.reasongen_config import ReasonGenConfig
from plaudit.presets.task import Task

_SCRIPT = "groups, steps, rate, clip and entropy control: the released code's script (Zhang et al. 2025)"


@dataclass(frozen=True, kw_only=True)
class PlanTask(Task):
    """What such a training takes besides: how what it leaves is drawn."""

    look_guidance: float = 1.0
    """classifier-free guidance of looks, and of whoever draws with what is left"""
    recompute: bool = False
    """keep no activations of calls with a gradient and make them again; else the model is too large for its GPU"""


@dataclass(frozen=True, kw_only=True)
class LessonsTask(PlanTask):
    """What lessons take besides: where they come from."""

    lessons: str
    """scenes: the pocket world's own; or rows of described pictures, as a file or a data set"""
    count: int = 0
    """of scenes"""


SCENES = "scenes"
"""the lessons that the pocket world writes itself"""
RANK = 64
"""of the LoRAs over Janus-Pro, of which one GPU cannot train every weight"""


def pocket_reasongen() -> PlanTask:
    """Ours: pocket-janus plans and draws prompts of all six tasks; pocket-vqa judges whether all they ask is met."""
    config = ReasonGenConfig(
        updates=180, prompts_per_update=16, images_per_prompt=8, rounds=2, lr=4e-4, warmup=5, decay="linear",
        weight_decay=0.0, steps_per_pass=1, spread="update", balance="segments", kl_weight=0.1, entropy_control="pi",
        word_entropy=0.3, token_entropy=1.4, entropy_rate=0.02, entropy_limit=0.1, batch_size=128,
    )  # fmt: skip
    return PlanTask(
        model="pocket-janus", rewards=("pocket-vqa-product:1",), held_out="imagereward", prompts=_scenes_in_words(),
        rank=0, alpha=0.0, config=config, origin="ours, for the pocket world on two CPU cores",
    )  # fmt: skip


def pocket_reasongen_direct() -> PlanTask:
    """Ours: the same without plans: the picture follows the prompt."""
    task = pocket_reasongen()
    return replace(task, config=replace(task.config, plan=False))


def janus_pro_1b() -> PlanTask:
    """For Janus-Pro-1B, taught to plan, on one GPU of 24 GB: a LoRA, judged by Qwen2.5-VL-3B."""
    config = ReasonGenConfig(prompts_per_update=8, rounds=3, lr=5e-5, batch_size=4, draw_batch_size=16)
    return PlanTask(
        model="janus-pro-1b", rewards=("qwen2.5-vl-3b:1",), held_out="pickscore-v1", prompts=_asked_for(), rank=RANK,
        alpha=RANK, config=config, look_guidance=5.0, recompute=True, origin=f"{_SCRIPT}; fewer prompts an update, "
        "the LoRA, its rate and the smaller judge are ours",
    )  # fmt: skip


def janus_pro_7b() -> PlanTask:
    """For Janus-Pro-7B, taught to plan, on one GPU of 80 GB: a LoRA, and the script's strict judge."""
    config = ReasonGenConfig(lr=5e-5, batch_size=4, draw_batch_size=32)
    return PlanTask(
        model="janus-pro-7b", rewards=("qwen2.5-vl-7b-boxed:1",), held_out="pickscore-v1", prompts=_asked_for(),
        rank=RANK, alpha=RANK, config=config, look_guidance=5.0, recompute=True, origin=f"{_SCRIPT}; the LoRA and its "
        "rate are ours; the script's prompts are not handed on: give them by --prompts",
    )  # fmt: skip


def pocket_plans() -> LessonsTask:
    """Ours: scenes of the pocket world, each with its prompt and its plan, for pocket-janus."""
    config = PlanSftConfig(
        updates=200, lessons_per_update=64, lr=3e-4, warmup=20, weight_decay=0.0, ema=0.99, batch_size=64
    )
    return LessonsTask(
        model="pocket-janus", rewards=("pocket-vqa:1",), held_out="imagereward", prompts=_scenes_in_words(), rank=0,
        alpha=0.0, config=config, lessons=SCENES, count=8192, origin="ours, for the pocket world on two CPU cores",
    )  # fmt: skip


def janus_pro_1b_plans() -> LessonsTask:
    """For Janus-Pro-1B on one GPU of 24 GB: a LoRA; described pictures have to be given with --lessons."""
    return replace(janus_pro_7b_plans(), model="janus-pro-1b")


def janus_pro_7b_plans() -> LessonsTask:
    """For Janus-Pro-7B on one GPU of 80 GB: a LoRA; described pictures have to be given with --lessons."""
    config = PlanSftConfig(lr=1e-4, batch_size=4, draw_batch_size=16)
    return LessonsTask(
        model="janus-pro-7b", rewards=("pickscore-v1:1",), held_out="hpsv2.1", prompts=_asked_for(), rank=RANK,
        alpha=RANK, config=config, look_guidance=5.0, recompute=True, lessons="", origin="the released code's script "
        "(Zhang et al. 2025); the LoRA and its rate are ours",
    )  # fmt: skip


TASKS = {
    "pocket-reasongen": pocket_reasongen, "pocket-reasongen-direct": pocket_reasongen_direct,
    "janus-pro-1b": janus_pro_1b, "janus-pro-7b": janus_pro_7b,
}  # fmt: skip
LESSONS = {
    "pocket-plans": pocket_plans, "janus-pro-1b-plans": janus_pro_1b_plans, "janus-pro-7b-plans": janus_pro_7b_plans,
}  # fmt: skip

NUMBERS = ("two", "three", "four")
COLOURS = ("red", "yellow", "green", "blue", "brown", "white", "black", "orange")
PLACES = ("to the left of", "to the right of", "above", "below")
OBJECTS = (
    "teapot", "lantern", "rowing boat", "violin", "wheelbarrow", "cactus", "armchair", "pineapple", "owl", "candle",
    "drum", "watering can", "bicycle wheel", "snail", "hat", "ladder", "pumpkin", "kettle", "ice skate", "birdhouse",
)  # fmt: skip


def _scenes_in_words() -> tuple[str, ...]:
    """A thousand prompts about scenes of the pocket world that share nothing with PocketEval's."""
    from plaudit.presets.r0 import scenes_in_words
    from plaudit.suites.prompt_overlap import own_benchmarks, without_overlap

    return without_overlap(scenes_in_words(1024), own_benchmarks())


def _asked_for() -> tuple[str, ...]:
    """Ours: prompts that ask for numbers, colours and places; none is any benchmark's."""
    found = []
    for i, one in enumerate(OBJECTS):
        other, colour = OBJECTS[(i + 7) % len(OBJECTS)], COLOURS[i % len(COLOURS)]
        second = COLOURS[(i + 3) % len(COLOURS)]
        found += [
            f"{NUMBERS[i % len(NUMBERS)]} {_several(one)} in a row", f"{_a(colour)} {one}",
            f"{_a(one)} {PLACES[i % 4]} {_a(other)}", f"{_a(colour)} {one} and {_a(second)} {other}",
        ]  # fmt: skip
    return tuple(found)


def _several(words: str) -> str:
    return f"{words}es" if words.endswith("s") else f"{words}s"


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
