"""README.md of a finished training: a model card, as the Hugging Face hub and people read it.

Everything in it is of this training: read from its folder, or said by whoever trained.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from plaudit import __version__
from plaudit.core.registry import Entry
from plaudit.core.whole_files import write_whole
from plaudit.generators.denoising import shifted, trailing_times
from plaudit.generators.table import GENERATORS
from plaudit.generators.trained_part import (
    ADAPTER_FILE,
    SCHEDULER_FOLDER,
    TOKEN_WEIGHTS,
    TRANSFORMER_FOLDER,
    UNET_FOLDER,
)
from plaudit.generators.tuned import Chosen, Patch, choose, sampling_of
from plaudit.runs.audit_sheet import measure
from plaudit.runs.lineage import follows_rewards, overlaps_in_markdown
from plaudit.runs.looks import SAMPLES
from plaudit.runs.training_folder import TrainingFolder

CARD = "README.md"
SHOWN_PROMPTS = 5
HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CreativeML Open RAIL-M": "creativeml-openrail-m",
    "OpenRAIL++": "openrail++",
}
"""by our name of a licence, the hub's; it calls all others "other" and asks for name and page"""
_WHOLE = {UNET_FOLDER: "UNet2DConditionModel", TRANSFORMER_FOLDER: "SD3Transformer2DModel"}
"""by the folder of all its weights, diffusers' class"""


def write_model_card(folder: TrainingFolder, *, prompts: Sequence[str], config: Any) -> Path:
    """Write README.md into a finished training's folder; returns its path.

    `prompts`: all that were trained on; `config`: the method's, a dataclass.
    """
    file = folder.path / CARD
    write_whole(file, card(folder, prompts=prompts, config=config).encode())
    return file


def card(folder: TrainingFolder, *, prompts: Sequence[str], config: Any) -> str:
    """The card's text: front matter, then Markdown."""
    chosen = choose(str(folder.path))
    whole, base = chosen.patches[-1].whole, chosen.model
    what, method = "Weights" if whole else "A LoRA", METHODS[folder.manifest.get("method", "rlcm")]
    parts = [
        f"# {folder.manifest['settings'].get('preset', 'training')} on {base}",
        f"{what} for {base}, tuned on rewards {method.words} with Plaudit {__version__}.",
        _before_and_after(folder) + _verdict(folder.manifest),
        f"## Base model\n\n{_base(chosen)}",
        f"## Rewards\n\n{_rewards(folder.manifest['sources'])}",
        f"## Prompts\n\n{_prompts(prompts)}{overlaps_in_markdown(folder.manifest)}",
        f"## How to use it\n\n{_how_to_use_it(folder.path, chosen, prompts[0])}",
        f"## Intended use and limits\n\n{_limits(folder)}",
        f"## Settings\n\n{_settings(folder, chosen.patches[-1], asdict(config))}",
        f"## Papers\n\n{method.papers}",
    ]
    head = yaml.safe_dump(front_matter(folder), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def front_matter(folder: TrainingFolder) -> dict[str, Any]:
    """What the hub reads: base model, licence, tags."""
    chosen = choose(str(folder.path))
    entry, last = GENERATORS.row_of(chosen.model), chosen.patches[-1]
    whole, library = last.whole, "plaudit" if last.of_tokens else "diffusers"
    licence = entry.licence if entry else None
    named = HUB_LICENCES.get(licence or "", "other" if licence else "unknown")
    found: dict[str, Any] = {
        "base_model": (entry.hub_id if entry else None) or chosen.model,
        "base_model_relation": "finetune" if whole else "adapter",
        "library_name": library,
        "pipeline_tag": "text-to-image",
        "license": named,
    }
    if entry and named == "other":
        found["license_name"] = re.sub(r"[^a-z0-9.+]+", "-", entry.licence.lower()).strip("-")
        found["license_link"] = entry.licence_page
    tags = METHODS[folder.manifest.get("method", "rlcm")].tags
    kinds = ["text-to-image", library, *([] if whole else ["lora"]), *tags, "plaudit"]
    return {**found, "tags": list(dict.fromkeys(kinds))}


def looks(folder: TrainingFolder) -> tuple[dict[str, float], dict[str, float]]:
    """What the first look measured, and the one at the weights that were left, by name; empty if there was none."""
    end = _updates(folder)
    found = [
        {name[5:]: value for name, value in line.items() if name.startswith("look_")}
        for line in folder.lines()
        if line["update"] <= end
    ]
    found = [it for it in found if it]
    return (found[0], found[-1]) if found else ({}, {})


def _updates(folder: TrainingFolder) -> int:
    """Updates behind the weights that were left: all, or those of the best checkpoint where training ended early."""
    best = folder.best() if folder.manifest.get("ended_early") else None
    if best is not None:
        return int(best.facts["update"])
    return max((int(line["update"]) for line in folder.lines()), default=0)


def _before_and_after(folder: TrainingFolder) -> str:
    before, after = looks(folder)
    followed = follows_rewards(folder.manifest)
    rows = [
        f"| {measure(name, followed=followed)} | {_number(value)} | {_number(after.get(name))} |"
        for name, value in before.items()
    ]
    pictures = [it for it in sorted((folder.path / SAMPLES).glob("*.png")) if int(it.stem) <= _updates(folder)]
    text = "## Before and after\n\nThe same prompts and noises, before the first update and with these weights.\n\n"
    text += "\n".join(["| | before | after |", "|---|---|---|", *rows])
    if len(pictures) > 1:
        first, last = (file.relative_to(folder.path).as_posix() for file in (pictures[0], pictures[-1]))
        text += f"\n\n| before | after |\n|---|---|\n| ![before]({first}) | ![after]({last}) |"
    return text


def _verdict(manifest: Mapping[str, Any]) -> str:
    """The verdict in bold, why, what else is to be said, and the rule; nothing for trainings without one."""
    found = manifest.get("verdict")
    if not found:
        return ""
    return "\n\n".join(
        ["", f"**Verdict: {found['word']}.** {' '.join([found['because'] + '.', *found['remarks']])}", found["rule"]]
    )


def _base(chosen: Chosen) -> str:
    entry = GENERATORS.row_of(chosen.model)
    if entry is None:
        text = f"`{chosen.model}`. Its licence is not known to Plaudit and holds for this model too."
    else:
        where = f", [{entry.hub_id}](https://huggingface.co/{entry.hub_id}) at {entry.revision}" if entry.hub_id else ""
        page = f" ([its text]({entry.licence_page}); {entry.restrictions})" if entry.licence_page else ""
        text = f"{entry.name}{where}: {entry.summary}. Licence: {entry.licence}{page}, which holds for this model too."
    if len(chosen.patches) > 1:
        under = ", then ".join(f"`{patch.place}`" for patch in chosen.patches[:-1])
        text += f" It had been tuned before: {under}."
    return text


def _rewards(sources: Mapping[str, Any]) -> str:
    lines = [f"- {_reward(it)}, weight {it['weight']:g}" for it in sources["rewards"]]
    held_out = sources.get("held_out") or []
    lines += [f"- {_reward(it)}, held out" for it in ([held_out] if isinstance(held_out, Mapping) else held_out)]
    if together := sources.get("distribution"):
        lines.insert(
            len(sources["rewards"]),
            f"- {together['name']} on {_reward(together['net'])} against {together['reference']['count']} pictures "
            f"({together['reference']['pictures']}), weight {together['weight']:g}",
        )
    return "\n".join(lines)


def _reward(source: Mapping[str, Any]) -> str:
    licence = f" (licence: {source['licence']})" if source.get("licence") else ""
    return f"{source['name']}{licence}"


def _prompts(prompts: Sequence[str]) -> str:
    # Indented, so that nothing in a prompt is read as Markdown.
    shown = "\n".join("    " + " ".join(prompt.split()) for prompt in prompts[:SHOWN_PROMPTS])
    return f"{len(prompts)}, among them:\n\n{shown}"


def _how_to_use_it(path: Path, chosen: Chosen, prompt: str) -> str:
    if not chosen.patches[-1].of_tokens:
        return f"{_in_plaudit(path, prompt, flag='--lora')}\n\n{_in_diffusers(chosen, prompt)}"
    sampling = sampling_of(chosen)
    said = (
        ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(sampling).items()) if sampling else ""
    )
    held = (
        f"`{TOKEN_WEIGHTS}` holds all weights of the transformer; what turns tokens into pictures is the base model's."
        if chosen.patches[-1].whole
        else f"`{ADAPTER_FILE}` and the file beside it hold a LoRA over the base model, in peft's layout."
    )
    return f"{_in_plaudit(path, prompt, flag='--model')}\n\nIt is drawn with {said} unless told otherwise. {held}"


def _in_plaudit(path: Path, prompt: str, *, flag: str) -> str:
    return f"""```sh
plaudit generate {json.dumps(prompt, ensure_ascii=False)} --method none {flag} {json.dumps(str(path))}
```

```python
from plaudit import load_generator

generator = load_generator({str(path)!r})
```"""


def _in_diffusers(chosen: Chosen, prompt: str) -> str:
    entry = GENERATORS.row_of(chosen.model)
    lines = ["from diffusers import DiffusionPipeline"]
    if any(patch.whole for patch in chosen.patches):
        lines[0] += f", {_WHOLE[chosen.patches[-1].weights.name]}"
    if entry is not None and entry.hub_id is None:
        lines += ["from plaudit.pocket.folders import pocket_folder", ""]
        lines += [f"pipe = DiffusionPipeline.from_pretrained(pocket_folder({entry.name!r}))"]
    else:
        lines += ["", f"pipe = DiffusionPipeline.from_pretrained({_repository(entry, chosen.model)!r})"]
        lines += _lcm_lora(entry)
    for patch in chosen.patches:
        lines += _laid_over(str(patch.weights.parent), patch.weights.name, whole=patch.whole)
    settings = f"num_inference_steps={_steps(entry, chosen)}, guidance_scale={_guidance(entry)}"
    if (last := chosen.patches[-1]).shift is not None:
        more, settings = _in_few_steps(last, _steps(entry, chosen))
        lines += more
    lines += [f"image = pipe({prompt!r}, {settings}).images[0]"]
    return "```python\n" + "\n".join(lines) + "\n```"


def _laid_over(folder: str, name: str, *, whole: bool) -> list[str]:
    if whole:
        return [f"pipe.{name} = {_WHOLE[name]}.from_pretrained({folder!r}, subfolder={name!r})"]
    # Merged, as the next may be another's.
    return [
        f"pipe.load_lora_weights({folder!r}, weight_name={name!r})",
        "pipe.fuse_lora()",
        "pipe.unload_lora_weights()",
    ]


def _in_few_steps(patch: Patch, steps: int) -> tuple[list[str], str]:
    """The sampler of R0's grid, and how it is called."""
    shift = float(patch.shift or 1)
    folder = patch.weights.parent
    kind = json.loads((folder / SCHEDULER_FOLDER / "scheduler_config.json").read_text())
    if kind["_class_name"].startswith("FlowMatch"):
        places = patch.start * shifted(1 - torch.arange(steps) / steps, shift)
        return [], f"sigmas={[round(place, 6) for place in places.tolist()]}, guidance_scale=1.0"
    times = trailing_times(int(kind["num_train_timesteps"]), steps, shift, patch.start)
    lines = [
        "from diffusers import EulerDiscreteScheduler",
        f"pipe.scheduler = EulerDiscreteScheduler.from_pretrained({str(folder)!r}, subfolder={SCHEDULER_FOLDER!r})",
    ]
    return lines, f"timesteps={times.tolist()}, guidance_scale=1.0"


def _lcm_lora(entry: Entry | None) -> list[str]:
    """What makes a consistency model of the base, where the row says that a LoRA does."""
    if entry is None or "lora" not in entry.arguments:
        return []
    files = entry.arguments["lora"]
    load, *rest = _laid_over(files.hub_id, files.patterns[0], whole=False)
    return [
        "from diffusers import LCMScheduler",
        "pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)",
        load,
        *rest,
    ]


def _repository(entry: Entry | None, model: str) -> str:
    return str(entry.arguments["folder"].hub_id) if entry else model


def _steps(entry: Entry | None, chosen: Chosen) -> int:
    return chosen.steps or (int(entry.facts["steps"]) if entry else 1)


def _guidance(entry: Entry | None) -> float:
    return float(entry.facts["guidance"]) if entry else 1.0


def _limits(folder: TrainingFolder) -> str:
    before, after = looks(folder)
    said = [
        "For research on rewards, and for pictures of prompts like those above. What other prompts become was not "
        "measured: look at them beside the base model's.",
        "The rewards are models or rules with mistakes of their own, and training finds what they are wrong about. "
        "Trust the held-out reward and your eyes more than the one that was trained on.",
        "All limits, biases and licence terms of the base model remain.",
    ]
    if _fell("held_out", before, after) and not _fell("reward", before, after):
        said.insert(0, "**The held-out reward fell while the trained one rose: this model may be over-trained.**")
    if early := folder.manifest.get("ended_early"):
        said.insert(0, f"Training ended early: {early}.")
    if _fell("diversity", before, after):
        said.insert(-1, "A prompt's pictures are more alike than the base model's.")
    return "\n\n".join(said)


def _fell(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    first, last = before.get(name), after.get(name)
    return first is not None and last is not None and last < first


def _settings(folder: TrainingFolder, patch: Patch, config: Mapping[str, Any]) -> str:
    manifest = folder.manifest
    hardware = manifest["hardware"]
    facts = {
        **{name.replace("_", " "): value for name, value in config.items()},
        "LoRA's rank": None if patch.whole else _rank(patch.weights),
        "updates made": _updates(folder),
        "trained on": ", ".join(hardware["gpus"]) or hardware["cpu"],
        "versions": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
        "command": f"`{manifest['command']}`",
    }
    rows = [f"| {name} | {str(value).replace('|', '&#124;')} |" for name, value in facts.items() if value is not None]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _rank(file: Path) -> int:
    """Of a LoRA's file: what its first half makes of a layer's input."""
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        down = next(name for name in opened.keys() if "lora_A" in name)  # noqa: SIM118, no dictionary
        return int(opened.get_slice(down).get_shape()[0])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


_DIFFERENCES = "What this implementation does differently is said where it is: `plaudit.methods.{}`."

_REASONGEN = """- ReasonGen-R1, plans in words for autoregressive image models: Zhang et al. 2025, \
[arXiv 2505.24875](https://arxiv.org/abs/2505.24875)

"""


@dataclass(frozen=True, kw_only=True)
class _Method:
    """What a card says of a method."""

    words: str
    tags: tuple[str, ...]
    papers: str


METHODS = {
    "rlcm": _Method(
        words="by policy gradient",
        tags=("reinforcement-learning", "rlcm"),
        papers="""- RLCM, policy gradient on few-step models: Oertell, Chang, Zhang, Brantley, Sun 2024, \
[arXiv 2404.03673](https://arxiv.org/abs/2404.03673)
- DDPO, the same on many-step diffusion models: Black, Janner, Du, Kostrikov, Levine 2023, \
[arXiv 2305.13301](https://arxiv.org/abs/2305.13301)

"""
        + _DIFFERENCES.format("rlcm"),
    ),
    "r0": _Method(
        words="by their gradients, to draw in few steps without guidance,",
        tags=("few-step", "r0"),
        papers="""- R0 and R0+, few-step generators from rewards alone: Luo, Hu, Luo, Kawaguchi, Tang 2025, \
[arXiv 2503.13070](https://arxiv.org/abs/2503.13070)

"""
        + _DIFFERENCES.format("r0"),
    ),
    "ar-grpo": _Method(
        words="by policy gradient on its tokens",
        tags=("reinforcement-learning", "autoregressive", "ar-grpo"),
        papers="""- GRPO on autoregressive image models with LOO-FID: Baran, Kandemir, Cinbis 2026, \
[arXiv 2603.23086](https://arxiv.org/abs/2603.23086)

"""
        + _DIFFERENCES.format("ar_grpo"),
    ),
    "plans": _Method(
        words="by lessons, to write a plan before it draws; rewards were only watched,",
        tags=("autoregressive", "chain-of-thought", "reasongen-r1"),
        papers=_REASONGEN + _DIFFERENCES.format("plan_sft"),
    ),
    "reasongen": _Method(
        words="by policy gradient on its plans and its tokens",
        tags=("reinforcement-learning", "autoregressive", "chain-of-thought", "reasongen-r1"),
        papers=_REASONGEN + _DIFFERENCES.format("reasongen"),
    ),
}
"""by the name in run.json; the trainings of before it was recorded are RLCM's"""
