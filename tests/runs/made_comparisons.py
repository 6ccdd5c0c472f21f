"""A comparison of two systems on disk, made by hand, one of them right everywhere."""

import torch

from plaudit.runs.comparison import ComparisonFolder, Cost, EntrantFolder, table_of
from plaudit.suites.comparison_results import results_of
from plaudit.suites.run import Judged

SETTINGS = {"suite": "pocket", "seed": 0, "images_per_prompt": 2, "equal": "none", "reward": ["bright"]}


class Bright:
    """The mean of the pixels; counts what it is asked."""

    differentiable = True

    def __init__(self, times=1.0):
        self.asked, self.times = 0, times

    def __call__(self, images, prompts):
        self.asked += len(images)
        return self.times * images.mean(dim=(1, 2, 3))


def judged(row, *, right=True, score=0.5, parts=None):
    return Judged(
        row=row, prompt_index=row // 2, image_index=row % 2, prompt=f"prompt {row // 2}", category="counting",
        unseen=False, right=right, reasons=(), score=score, parts=parts or {},
    )  # fmt: skip


def shades(count):
    """(count, 3, 8, 8), each picture of one grey that 8 bits hold exactly."""
    return (torch.arange(count).float() * 51 / 255).view(-1, 1, 1, 1).expand(count, 3, 8, 8)


def made_comparison(path):
    """A folder with two systems, one of them better, and the results in it."""
    folder = ComparisonFolder(path, SETTINGS)
    tables = []
    for name, right in (("base", False), ("<tuned>", True)):
        place = EntrantFolder(folder.place_of(name), {"model": name})
        batch = [judged(row, right=right, score=float(right)) for row in range(24)]
        place.keep(batch, shades(5)[torch.arange(24) % 5], Cost(images=24, pictures=24, seconds=2.4, forwards=24))
        place.score(batch, "bright", Bright(), source="", put=lambda images: images)
        folder.content["entrants"][name] = {"folder": place.path.name}
        tables.append(table_of(name, place, range(24), ["bright"]))
    folder.content["results"] = {
        **results_of(tables), "failed": {"lost": "no such file"}, "prompts": 12, "rows": list(range(24)),
        "rewards": ["bright"], "held_out": ["bright"], "trained_on": {},
    }  # fmt: skip
    folder.save()
    return folder
