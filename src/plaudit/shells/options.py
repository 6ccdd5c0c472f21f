"""What a user can say about how pictures are drawn: the flags that several commands share.

The defaults of the method's own settings are those of `RenoConfig`, written again because that class comes
with torch and a help page must not wait for it; a test compares the two.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

Method = Literal["reno", "best-of-n", "evolve", "none"]

UNDECISIVE = ("out", "json", "resume", "from_image", "device", "memory", "prompts_file")
"""options that are not recorded: no picture depends on them, or their content is under another name"""
LATER = (
    "lora",
    "lora_scale",
    "sampling_steps",
    "guidance",
    "temperature",
    "top_k",
    "top_p",
    "plan",
    "direct",
    "noise_offset",
)
"""options that older runs do not know: recorded where they are not at their default"""
TOKEN_FLAGS = ("guidance", "temperature", "top_k", "top_p")
"""options that only a model has which draws token by token"""
DEFAULT_MODEL = "pocket-turbo"


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """Model, method and rewards."""

    model: str | None = None
    """model of the table (plaudit list models), a folder in its published format, or a training's folder; left out:
    pocket-turbo, or the model that --lora was trained on"""
    lora: str | None = field(default=None, metadata={"placeholder": "PATH"})
    """LoRA to lay over the model: a training's folder, or a folder or file with pytorch_lora_weights.safetensors"""
    lora_scale: float = 1.0
    """how much of it: 0 is the model as it was"""
    sampling_steps: int | None = None
    """steps in which the model draws a picture; left out: the training's, or the model's own"""
    guidance: float | None = None
    """models that draw token by token: scale of classifier-free guidance, 1 is none; left out, as what follows: as the
    model's row or its training says"""
    temperature: float | None = None
    """such models: below 1 likelier tokens, above 1 less likely ones"""
    top_k: int | None = None
    """such models: only so many of the likeliest tokens; 0: all"""
    top_p: float | None = None
    """such models: only the likeliest tokens that hold this much probability together; 1: all"""
    plan: str | None = field(default=None, metadata={"placeholder": "TEXT"})
    """models that write a plan before they draw: this plan for all pictures, in words that they know, and none of
    theirs"""
    direct: bool = False
    """models that write plans: no plan, the picture follows the prompt"""
    method: Method | None = field(default=None, metadata={"placeholder": "reno|best-of-n|evolve|none"})
    """reno: follow the rewards' gradient; best-of-n: try many; evolve: CMA-ES, needs no gradient; none: one
    picture as it comes. Left out: reno, or best-of-n for a model that draws token by token, which has no gradient"""
    reward: tuple[str, ...] = field(default=(), metadata={"placeholder": "NAME:WEIGHT"})
    """rewards and weights, as in: hps:5 imagereward:1; without a weight the reward's usual one. A reward of your own is
    my_module:MyReward or ./file.py:MyReward. Options follow: smooth=4 (looks), cache, max=0.3, normalise. Left out:
    the four of ReNO with their published weights"""
    held_out: str | None = None
    """reward that is measured and never optimised"""
    steps: int = 50
    """pictures drawn per image: gradient steps (reno) or trials (best-of-n, evolve)"""
    seconds: float | None = field(default=None, metadata={"placeholder": "S"})
    """best-of-n and evolve: time for each image, instead of steps"""
    noise_offset: int = 0
    """best-of-n: number of the first noise that is tried; more of them, none of them twice"""
    seed: int = 0
    """the noise of an image depends on the seed and the image's number alone"""
    lr: float | None = None
    """reno: step size; left out: the published 5, scaled to the size of the noise"""
    momentum: float = 0.9
    """reno: Nesterov momentum"""
    grad_clip: float = 0.1
    """reno: largest gradient norm, per image"""
    prior_weight: float = 0.01
    """reno: weight of the penalty that keeps the noise as long as noise is"""
    start_best_of: int = 1
    """reno: start from the best of so many noises"""
    patience: int | None = None
    """reno: stop an image that has not improved for so many steps"""
    guard_held_out: bool = False
    """reno: stop an image whose held-out reward falls while the optimised one rises"""
    batch_size: int = 16
    """images drawn at once; changes speed and memory, not the pictures"""
    memory: float | None = field(default=None, metadata={"placeholder": "GB"})
    """gigabytes of memory that the run may use: what saves memory is switched on until it fits, and fewer images are
    drawn at once; left out: what is free on the GPU"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(DrawingOptions):
    """All that `plaudit generate` takes."""

    prompts: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "PROMPT"})
    """what to draw, each in quotes"""
    prompts_file: Path | None = field(default=None, metadata={"placeholder": "FILE", "flag": "--prompts"})
    """text file of more prompts, one a line; empty lines are skipped"""
    images_per_prompt: int = 1
    """images per prompt"""
    prompt_offset: int = 0
    """number of the first prompt: splits a long list over machines with the noise unchanged"""
    image_offset: int = 0
    """number of each prompt's first image: more images of a prompt, none of them twice"""
    out: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """folder of the run (default: runs/<date>-<prompt>); never one that is in use"""
    resume: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """continue the run in this folder with its own settings; finished images are kept"""
    from_image: Path | None = field(default=None, metadata={"placeholder": "FILE"})
    """draw the image in this PNG again, from the settings inside it; other flags go over them"""
    json: bool = False
    """print one JSON object on stdout, and nothing else there"""


def decisive(options: DrawingOptions) -> dict[str, Any]:
    """The options to record, as JSON types."""
    kept = [f for f in fields(options) if f.name not in UNDECISIVE]
    values = {f.name: getattr(options, f.name) for f in kept}
    values = {f.name: values[f.name] for f in kept if f.name not in LATER or values[f.name] != f.default}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
