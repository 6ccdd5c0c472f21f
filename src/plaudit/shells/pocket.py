"""`plaudit pocket build` and `plaudit pocket show`: the embedded world."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.shells.flags import Command, WrongUsage, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from plaudit.claims.pocket_models import Score
    from plaudit.pocket.build.recipe import Report
    from plaudit.pocket.prompts import Request
    from plaudit.pocket.scenes import Scene


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """All that `plaudit pocket build` takes."""

    names: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "NAME"})
    """models to build; left out: all, in the order they need each other"""
    work_dir: Path = field(default=Path("runs/pocket-build"), metadata={"placeholder": "DIR"})
    """where unfinished training lies; a stopped build goes on from there"""
    install_to: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """where finished models go; left out: into the package"""
    from_shipped: bool = False
    """start from the models that are installed already, and train none but those that are named"""
    seed: int = 0
    """of every draw"""
    device: str | None = None
    """cpu, cuda or mps; left out: a GPU if there is one"""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """All that `plaudit pocket measure` takes."""

    names: tuple[str, ...] = field(default=(), metadata={"positional": "*", "placeholder": "NAME"})
    """models to measure; left out: all"""
    root: Path | None = field(default=None, metadata={"placeholder": "DIR"})
    """where the models lie; left out: in the package"""
    json: bool = False
    """print one JSON object"""


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """All that `plaudit pocket show` takes."""

    prompt: str = field(metadata={"positional": 1, "placeholder": "PROMPT"})
    """one to four shapes: circle, square, triangle, star, cross, ring, diamond, heart"""
    seed: int = 0
    """of places, sizes and whatever the prompt leaves open"""
    out: Path | None = field(default=None, metadata={"placeholder": "FILE"})
    """PNG to write (default: <prompt>.png here)"""


def build(options: BuildOptions) -> int:
    """Train, install and measure each model: one line every few seconds on stderr, its scores on stdout."""
    from rich.console import Console

    from plaudit.claims.pocket_models import measure
    from plaudit.pocket.build.install import install
    from plaudit.pocket.build.recipe import build as build_models
    from plaudit.pocket.build.shipped_parts import take_shipped
    from plaudit.pocket.folders import POCKET_MODELS, WEIGHTS
    from plaudit.shells.drawing import device_of

    for name in options.names:
        _check_name(name)
    progress, results = Console(stderr=True), Console()
    root = options.install_to or WEIGHTS
    if options.from_shipped:
        if not options.names:
            raise WrongUsage("--from-shipped trains the models that you name; name one, for example pocket-turbo")
        for part in take_shipped(options.work_dir, to_train=options.names):
            progress.print(f"{part}  taken as it is installed", highlight=False, soft_wrap=True)
    met = True
    for name in options.names or POCKET_MODELS:
        device = device_of(options.device)
        for report in build_models([name], options.work_dir, seed=options.seed, device=device):
            progress.print(_line(name, report), highlight=False, soft_wrap=True)
        folder = install(name, options.work_dir, root=root)
        progress.print(f"{name}  installed in {folder}; measuring", highlight=False, soft_wrap=True)
        for score in measure(name, root=root):
            results.print(_verdict(score), highlight=False, soft_wrap=True)
            met = met and score.met
    return 0 if met else 1


def measure_models(options: MeasureOptions) -> int:
    """Measure installed models against their bars: a line each, or one JSON object."""
    import json

    from rich.console import Console

    from plaudit.claims.pocket_models import measure
    from plaudit.pocket.folders import POCKET_MODELS, WEIGHTS

    results = Console()
    scores = []
    root = options.root or WEIGHTS
    for name in options.names or POCKET_MODELS:
        _check_name(name)
        for score in measure(name, root=root):
            scores.append(score)
            if not options.json:
                results.print(_verdict(score), highlight=False, soft_wrap=True)
    if options.json:
        rows = [
            {"model": s.model, "what": s.what, "value": s.value, "low": s.low, "high": s.high, "met": s.met}
            for s in scores
        ]
        print(json.dumps({"scores": rows}, indent=2))
    return 0 if all(score.met for score in scores) else 1


def _check_name(name: str) -> None:
    from plaudit.pocket.folders import POCKET_MODELS

    if name not in POCKET_MODELS:
        hint = nearest(name, POCKET_MODELS) or f" Known: {', '.join(POCKET_MODELS)}."
        raise UnknownName(f"no pocket model named {name!r}.{hint}")


def _verdict(score: "Score") -> str:
    verdict = "met" if score.met else "MISSED"
    bar = f"{score.low:.2f} or more" if score.high >= 1 else f"{score.low:.2f} to {score.high:.2f}"
    return f"{score.model}  {score.what}: {score.value:.3f}  (bar {bar}: {verdict})"


def _line(name: str, report: "Report") -> str:
    text = f"{name}  {report.part}  {report.done}/{report.total}"
    if report.progress is None:
        return text
    now = report.progress
    parts = "  ".join(f"{key} {value:.4f}" for key, value in now.parts.items())
    images = (now.steps - now.step) * now.batch
    left = images / max(1e-9, now.images_per_second) / 60
    return f"{text}  loss {now.loss:.4f}  {parts}  {now.images_per_second:.0f} images/s  {left:.0f} min left"


def show(options: ShowOptions) -> int:
    """Draw a scene as the prompt says, and read it back with the judge."""
    from plaudit.core.whole_files import write_whole
    from plaudit.pocket.judge import judge
    from plaudit.pocket.prompts import parse
    from plaudit.pocket.render import render
    from plaudit.runs.files import slug
    from plaudit.runs.provenance import png_bytes

    request = parse(options.prompt)
    if request is None:
        raise BadConfig(f"{options.prompt!r} is not about the pocket world; try 'a red ring left of a heart'")
    scene = scene_for(request, seed=options.seed)
    picture = render([scene])
    verdict = judge(picture, [request])[0]
    path = options.out or Path(f"{slug(options.prompt)}.png")
    write_whole(path, png_bytes(picture[0]))
    _paint(picture[0])
    things = ", ".join(f"{t.colour} {t.shape} at ({t.x:.0f}, {t.y:.0f})" for t in scene.things)
    print(f"{things}, on {scene.background}")
    print(f"the judge says: {'right' if verdict.right else 'wrong, ' + '; '.join(verdict.reasons)}")
    print(f"written to {path}")
    return 0


def scene_for(request: "Request", *, seed: int) -> "Scene":
    """A random scene that holds what the request asks for, and nothing else."""
    from dataclasses import replace

    import numpy as np

    from plaudit.pocket.scenes import draw_scene, order_of

    rng = np.random.default_rng(seed)
    wanted = [thing for thing in request.wanted for _ in range(thing.count)]
    kinds = {1: "one", 2: "pair"}
    if len(wanted) > 4:
        raise BadConfig(f"a scene holds at most 4 objects, and the prompt asks for {len(wanted)}")
    while True:
        scene = draw_scene(rng, kind=kinds.get(len(wanted), "count"))
        if len(scene.things) != len(wanted):
            continue
        things = tuple(
            replace(thing, shape=want.shape, colour=want.colour or thing.colour)
            for thing, want in zip(scene.things, wanted, strict=True)
        )
        if request.relation is None or order_of(things[0], things[-1]) == request.relation:
            return replace(scene, things=things, background=request.background or scene.background)


def _paint(image: "Tensor") -> None:
    """The picture on a terminal, two pixels to a character; nothing where stdout is none."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        return
    pixels = (image * 255).byte()[:, :, ::2].permute(1, 2, 0).tolist()
    for upper, lower in zip(pixels[::4], pixels[2::4], strict=True):
        line = Text()
        for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True):
            line.append("▀", style=f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        console.print(line)


BUILD = Command(
    name="pocket build",
    purpose=(
        "Train the pocket models again, from nothing, with fixed seeds: hours on a CPU, minutes on a GPU.\n"
        "May be stopped with Ctrl-C and started again."
    ),
    examples="""
plaudit pocket build                                    all of them
plaudit pocket build pocket-clip pocket-hps
plaudit pocket build pocket-turbo --from-shipped        this one alone, taught by the pocket-base that is installed
""",
    options=BuildOptions,
    run=build,
)

MEASURE = Command(
    name="pocket measure",
    purpose=(
        "Measure the pocket models against what each must reach: reconstructions, PocketEval, near misses, held-out\n"
        "pairs. Some minutes on a CPU. Exit code 1 if one falls short."
    ),
    examples="""
plaudit pocket measure                                  all of them
plaudit pocket measure pocket-turbo --json
""",
    options=MeasureOptions,
    run=measure_models,
)

SHOW = Command(
    name="pocket show",
    purpose="Draw a scene as its prompt says, without any model, and ask the judge about it.",
    examples="""
plaudit pocket show "three blue stars"
plaudit pocket show "a red ring left of a green square on a black background" --out scene.png
""",
    options=ShowOptions,
    run=show,
)
