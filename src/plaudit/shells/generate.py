"""`plaudit generate`: prompts in, a run folder out."""

import json
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.core.errors import BadConfig
from plaudit.core.prompt_files import prompt_text
from plaudit.rewards.specs import is_code
from plaudit.shells.flags import Command, WrongUsage, flag_of
from plaudit.shells.options import UNDECISIVE, GenerateOptions, decisive

if TYPE_CHECKING:
    from plaudit.generators.told_plans import ToldPlans
    from plaudit.methods.reno import Result
    from plaudit.runs.folder import RunFolder
    from plaudit.runs.records import ImageRecord
    from plaudit.shells.drawing import Workshop
    from plaudit.shells.progress import Watch

FREE_ON_RESUME = ("resume", "json", "device", "memory", "batch_size")
"""what may be said beside --resume, because no picture depends on it"""
NAMED = 5
"""prompts without a score that are named, at most"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Which images are to be drawn.

    An image's row is prompt_index * images_per_prompt + image_index. With offsets, there are rows before the
    first one here; they are never drawn.
    """

    prompts: tuple[str, ...]
    """with stand-ins for those before the offset"""
    images_per_prompt: int
    """with those before the offset"""
    rows: tuple[int, ...]


def job_of(options: GenerateOptions) -> Job:
    """The images that the options ask for. Raises BadConfig for counts that cannot work."""
    for name in ("images_per_prompt", "steps", "batch_size"):
        if getattr(options, name) < 1:
            raise BadConfig(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    for name in ("prompt_offset", "image_offset"):
        if getattr(options, name) < 0:
            raise BadConfig(f"--{name.replace('_', '-')} must not be negative, got {getattr(options, name)}")
    per_prompt = options.image_offset + options.images_per_prompt
    first = options.prompt_offset
    rows = (
        prompt * per_prompt + image
        for prompt in range(first, first + len(options.prompts))
        for image in range(options.image_offset, per_prompt)
    )
    prompts = (options.prompts[0],) * first + options.prompts
    return Job(prompts=prompts, images_per_prompt=per_prompt, rows=tuple(rows))


def run(options: GenerateOptions) -> int:
    """Draw, keep, report."""
    options = with_all_prompts(options)
    job = job_of(options)
    from plaudit.runs.folder import RunFolder
    from plaudit.runs.report import write_report
    from plaudit.shells.drawing import config_of, set_up, spell_out

    options = spell_out(options)
    config_of(options, images_per_prompt=job.images_per_prompt)  # its mistakes show before models are loaded
    folder = RunFolder.open(options.resume) if options.resume else None
    shop = set_up(options, images=len(job.rows))
    if folder is None:
        typed = shlex.join(["plaudit", *sys.argv[1:]])
        folder = RunFolder.create(options.out, command=typed, settings=decisive(options), sources=shop.sources)
    elif folder.manifest["sources"] != json.loads(json.dumps(shop.sources)):
        raise BadConfig(
            f"the model or a reward is not the one that {str(folder.path)!r} was begun with; start a new run"
        )
    if shop.fit is not None:
        folder.manifest["memory"] = shop.fit.record()
    done = folder.finished_rows()
    rows = [row for row in job.rows if row not in done]
    with folder.keeping_what_is_finished(len(job.rows), less_memory=_with_less_memory(shop, images=len(rows))):
        folder.set_status("running")
        unscored = draw(shop, job, rows, folder)
        folder.set_status("stopped" if unscored else "finished")
        write_report(folder)
        check_scored(unscored, any_kept=bool(folder.records))
    _say_what_came_of_it(folder, as_json=options.json)
    return 0


def _with_less_memory(shop: "Workshop", *, images: int) -> str:
    """What a run that does not fit a GPU is continued with: half as many images at once, a plan for less."""
    from plaudit.generators.table import draws_tokens

    options = shop.options
    # The candidates of a single image fill a batch there.
    at_once = options.batch_size if options.method == "evolve" else min(options.batch_size, images)
    fewer = f" --batch-size {at_once // 2}" if at_once > 1 else ""
    planned = options.model is not None and not draws_tokens(options.model)
    return fewer + (" (--memory GB plans for less)" if planned else "")


def draw(shop: "Workshop", job: Job, rows: Sequence[int], folder: "RunFolder") -> list[str]:
    """Draw the rows, writing each batch to the folder as soon as it is finished.

    Returns a word on each image that has no finite score at any step, and so is not kept.
    """
    from plaudit.shells.progress import watching

    told, unscored = _told_plans(shop), []
    shop = shop if told is None else replace(shop, generator=told)
    with watching("drawing", num_images=len(rows)) as watch:
        since = time.monotonic()
        for results in finished_batches(shop, job, rows, watch):
            judged = [result for result in results if math.isfinite(result.total)]
            folder.keep(judged, seconds=time.monotonic() - since, plan_of=told.plan_of if told else None)
            if told is not None:
                told.forget_older()
            since = time.monotonic()
            unscored += [_without_score(result) for result in results if not math.isfinite(result.total)]
    return unscored


def _without_score(result: "Result") -> str:
    """The prompt, and the rewards that were not finite for its first picture."""
    bad = [name for name, score in result.first_parts.items() if not math.isfinite(score)]
    return repr(result.prompt) + (f" from reward {', '.join(bad)}" if bad else "")


def check_scored(unscored: Sequence[str], *, any_kept: bool) -> None:
    """Raises BadConfig that names the prompts whose images have no finite score, if there are any."""
    if not unscored:
        return
    named = list(dict.fromkeys(unscored))
    more = f" and {len(named) - NAMED} more prompts" if len(named) > NAMED else ""
    raise BadConfig(f"no finite score for {'' if any_kept else 'any image: '}{', '.join(named[:NAMED])}{more}")


def _told_plans(shop: "Workshop") -> "ToldPlans | None":
    """The shop's generator as it remembers the plans that it draws after; None if it draws after none."""
    from plaudit.generators.plan_generator import PlanGenerator
    from plaudit.generators.told_plans import ToldPlans

    generator = shop.generator
    return ToldPlans(generator) if isinstance(generator, PlanGenerator) and generator.planned else None


def finished_batches(
    shop: "Workshop", job: Job, rows: Sequence[int], watch: "Watch | None" = None
) -> "Iterator[list[Result]]":
    """The method's results, batch by batch: a step of index 0 begins another batch."""
    from plaudit.shells.drawing import start, watcher

    if not rows:
        return
    best = None
    for step in start(shop, job.prompts, images_per_prompt=job.images_per_prompt, rows=rows):
        if step.index == 0 and best is not None:
            yield best.results()
            best = None
        if best is None:
            best = watcher(shop, job.prompts, images_per_prompt=job.images_per_prompt)
        best.see(step)
        if watch:
            watch.see(step)
    if best is not None:
        yield best.results()


def with_all_prompts(options: GenerateOptions) -> GenerateOptions:
    """The options with the file's prompts after the others. Raises BadConfig for an empty prompt or file."""
    prompts = options.prompts
    if options.prompts_file:
        prompts += read_prompts(options.prompts_file)
    if not prompts:
        raise WrongUsage('say what to draw, for example: plaudit generate "three blue stars"')
    for number, prompt in enumerate(prompts, start=1):
        if not prompt.strip():
            raise BadConfig(f"prompt {number} of {len(prompts)} is empty; say what to draw")
    return replace(options, prompts=tuple(p.strip() for p in prompts), prompts_file=None)


def read_prompts(path: Path) -> tuple[str, ...]:
    """The file's lines that hold anything. Raises BadConfig if it cannot be read or holds none."""
    prompts = tuple(line.strip() for line in prompt_text(path).splitlines() if line.strip())
    if not prompts:
        raise BadConfig(f"the prompts file {str(path)!r} holds no prompt; write one a line")
    return prompts


def recorded(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings to start from: those of a run to continue, or of an image to draw again."""
    if typed["resume"] and typed["from_image"]:
        raise WrongUsage("--resume and --from-image each bring their own settings; give one of them")
    if typed["resume"]:
        return _of_run(typed)
    if typed["from_image"]:
        return _of_image(typed)
    return {}


def _of_run(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    from plaudit.runs.folder import RunFolder

    for field in fields(GenerateOptions):
        default = field.default if field.default is not MISSING else None
        value = tuple(typed[field.name]) if isinstance(typed[field.name], list) else typed[field.name]
        if field.name not in FREE_ON_RESUME and value != default:
            what = "prompts" if field.name == "prompts" else flag_of(field)
            raise WrongUsage(f"--resume continues a run with its own settings; leave {what} out")
    return RunFolder.open(typed["resume"]).manifest["settings"]


def _of_image(typed: Mapping[str, Any]) -> Mapping[str, Any]:
    from plaudit.runs.provenance import check_patches, read_provenance

    path: Path = typed["from_image"]
    made = read_provenance(path)
    if made is None:
        raise BadConfig(f"{str(path)!r} does not say how it was made; only pictures that plaudit drew do")
    if not typed["model"] and not typed["lora"]:
        check_patches(made)
    offsets = {"prompt_offset": made["prompt_index"], "image_offset": made["image_index"], "images_per_prompt": 1}
    known = {f.name for f in fields(GenerateOptions) if f.name not in UNDECISIVE}
    settings = {k: v for k, v in made["settings"].items() if k in known}
    _refuse_code(path, settings, typed)
    if typed["plan"] is not None or typed["direct"]:
        settings = _with_another_plan(settings, made, typed)
    return {**settings, **offsets, "prompts": (made["prompt"],)}


def _with_another_plan(
    settings: Mapping[str, Any], made: Mapping[str, Any], typed: Mapping[str, Any]
) -> dict[str, Any]:
    """A picture's settings for its noise alone, whatever was said of its plan.

    So it is seen what the plan changes. Where the picture does not tell its noise by number, it is searched for again.
    """
    kept = {name: value for name, value in settings.items() if name not in ("plan", "direct")}
    if settings.get("method") == "best-of-n" and typed["method"] in (None, "best-of-n") and "best_step" in made:
        found = settings.get("noise_offset", 0) + made["best_step"]
        kept |= {"noise_offset": found, "steps": 1, "seconds": None}
    return kept


def _refuse_code(path: Path, settings: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """A picture may come from anybody: code that it names runs only if the user names it too."""
    from plaudit.rewards.table import read_spec

    for flag, specs in (("reward", settings.get("reward", ())), ("held_out", [settings.get("held_out")])):
        for spec in filter(None, specs):
            if not typed[flag] and is_code(read_spec(spec)[0]):
                raise BadConfig(
                    f"{str(path)!r} was drawn with code of its maker's, {spec}; if you know and trust it, name it: "
                    f"--{flag.replace('_', '-')} {spec}"
                )


def _say_what_came_of_it(folder: "RunFolder", *, as_json: bool) -> None:
    if as_json:
        from plaudit.runs.files import finite

        print(json.dumps(finite(summary(folder)), ensure_ascii=False))
        return
    for record in folder.records:
        print(_line(record, searched=folder.manifest["settings"].get("method") != "none"))
        if record.plan is not None:
            print(f"  plan: {_in_a_line(record.plan) or '(no words)'}")
    print(f"\npictures  {folder.path / 'images'}\nreport    {folder.report}")


def summary(folder: "RunFolder") -> dict[str, Any]:
    """The run as --json prints it; paths as seen from where the command ran."""
    images = []
    for record in folder.records:
        content = record.to_json()
        for name in ("file", "before_file"):
            content[name] = str(folder.path / content[name])
        keep = (
            "row",
            "prompt",
            "prompt_index",
            "image_index",
            "file",
            "before_file",
            "plan",
            "first_plan",
            "first_total",
            "total",
            "first_parts",
            "parts",
            "best_step",
            "before",
            "after",
            "skipped",
            "seconds",
        )
        images.append({name: content[name] for name in keep})
    manifest = folder.manifest
    return {
        "run": str(folder.path),
        "report": str(folder.report),
        "status": manifest["status"],
        "settings": manifest["settings"],
        "seconds": manifest["seconds"],
        "images": images,
    }


def _line(record: "ImageRecord", *, searched: bool) -> str:
    """What came of a picture; before and after if anything was sought that pleases the reward."""
    first = f"{record.first_total:.3f} -> " if searched else ""
    line = f"{record.prompt}: reward {first}{record.total:.3f}"
    if record.before and record.after:
        words = {True: "right", False: "wrong"}
        before = f"{words[record.before.right]} -> " if searched else ""
        line += f", judged {before}{words[record.after.right]}"
        if record.after.reasons:
            line += f" ({'; '.join(record.after.reasons)})"
    return line


def _in_a_line(text: str) -> str:
    """A model's words without line breaks, or signs that a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


COMMAND = Command(
    name="generate",
    purpose=(
        "Draw pictures of prompts and improve each under rewards while it is drawn.\n"
        "Writes a run folder: pictures (PNG, each knows how it was made), run.json, report.html.\n"
        "Where a model writes a plan before it draws, the plan is printed, kept, and shown beside the picture;\n"
        "--plan gives it another, --direct none.\n"
        "Prompts come first, flags after them."
    ),
    examples="""
plaudit generate "three blue stars"                     one picture, ReNO under four rewards
plaudit generate "a red ring left of a green square" "two pink hearts" --images-per-prompt 4 --seed 7
plaudit generate "a cyan diamond" --reward hps:5 clip:0.01 --held-out imagereward
plaudit generate "a cyan diamond" --method best-of-n --steps 100
plaudit generate --prompts prompts.txt --out runs/mine --json
plaudit generate "a cyan diamond" --method none --lora runs/2026-01-31-rlcm-pocket-aesthetic
plaudit generate --resume runs/mine                     go on where a stopped run was
plaudit generate --from-image runs/mine/images/0000-a-cyan-diamond.png
plaudit generate "a red star" --model pocket-janus      it writes a plan, and draws that
plaudit generate --from-image star.png --plan "on a white background: a large red star at the left."
""",
    options=GenerateOptions,
    run=run,
    recorded=recorded,
)
