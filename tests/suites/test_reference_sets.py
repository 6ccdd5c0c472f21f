"""Reference pictures: renders that are what their prompt asks for, and folders of one's own."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plaudit.core.errors import BadConfig
from plaudit.pocket.judge import judge
from plaudit.pocket.prompts import Request, Wanted, parse
from plaudit.pocket.truth import failures
from plaudit.suites import reference_sets
from plaudit.suites.pocket_eval import pocket_eval_prompts, spread_of
from plaudit.suites.reference_sets import (
    picture_folder,
    pocket_renders,
    reference_features,
    renders_of,
    scene_for,
)


class Means:
    """A feature net that sees three colours."""

    name, dimensions, fingerprint = "means", 3, "means"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def test_every_prompt_gets_a_scene_that_is_all_it_asks_for() -> None:
    for prompt in pocket_eval_prompts():
        scene = scene_for(prompt.request, np.random.default_rng(prompt.index))
        assert failures(scene, prompt.request) == ()
        assert len(scene.things) == sum(wanted.count for wanted in prompt.request.wanted)


def test_a_background_that_is_asked_for_is_there() -> None:
    request = parse("a red circle left of a blue star on a black background")
    scenes = [scene_for(request, np.random.default_rng(seed)) for seed in range(8)]
    assert {scene.background for scene in scenes} == {"black"}
    assert len({scene.things[0].x for scene in scenes}) == 8


def test_what_a_prompt_leaves_open_varies() -> None:
    scenes = [scene_for(parse("a circle and a star"), np.random.default_rng(seed)) for seed in range(40)]
    assert len({scene.background for scene in scenes}) == 3
    assert len({scene.things[0].colour for scene in scenes}) > 4
    assert {scene.things[0].x < scene.things[1].x for scene in scenes} == {True, False}


def test_the_judge_reads_the_renders_as_right() -> None:
    found = pocket_renders(num_prompts=30, images_per_prompt=1, seed=3)
    images = torch.cat(list(found.batches()))
    verdicts = judge(images, [prompt.request for prompt in spread_of(30)])
    assert sum(verdict.right for verdict in verdicts) >= 29


def test_renders_depend_on_the_seed_and_on_nothing_else() -> None:
    def images(**changes: int) -> torch.Tensor:
        return torch.cat(list(pocket_renders(**{"num_prompts": 6, "images_per_prompt": 2, **changes}).batches()))

    first = images(seed=1)
    assert first.shape == (12, 3, 64, 64)
    assert torch.equal(first, images(seed=1, batch_size=5))
    assert not any(torch.equal(a, b) for a, b in zip(first, images(seed=2), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first[::2], first[1::2], strict=True))
    more = images(seed=1, images_per_prompt=3)
    assert torch.equal(first.unflatten(0, (6, 2)), more.unflatten(0, (6, 3))[:, :2])


def test_renders_of_one_prompt_are_a_group() -> None:
    found = pocket_renders(num_prompts=3, images_per_prompt=2, seed=5)
    assert found.groups == tuple(p.index for p in spread_of(3) for _ in range(2))
    assert found.description == "6 renders of 3 of PocketEval's prompts, seed 5"
    assert len(pocket_renders().groups) == 553 * 4
    with pytest.raises(BadConfig, match="images per prompt must be at least 1, got 0"):
        pocket_renders(images_per_prompt=0)


def save(file, value: int, size: tuple[int, int] = (4, 6), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 255)).convert(mode).save(file)


def test_a_folders_pictures_come_by_name_in_batches_of_one_size(tmp_path) -> None:
    for index, size in enumerate([(4, 6), (4, 6), (4, 6), (5, 5), (4, 6)]):
        save(tmp_path / f"{index}.png", index * 51, size)
    (tmp_path / "notes.txt").write_text("not a picture")
    found = picture_folder(tmp_path, batch_size=2)
    batches = list(found.batches())
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 6, 4), (1, 3, 6, 4), (1, 3, 5, 5), (1, 3, 6, 4)]
    seen = torch.cat([batch[:, :, 0, 0] for batch in batches])
    assert torch.allclose(seen, torch.tensor([[index / 5, 0.0, 1.0] for index in range(5)]))
    assert found.groups is None
    assert found.description == f"5 pictures of the folder {tmp_path.name}"
    assert len(list(found.batches())) == 4  # and again


def test_folders_below_are_groups(tmp_path) -> None:
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.PNG"):
        save(tmp_path / name, 0)
    assert picture_folder(tmp_path).groups == (0, 0, 1)


def test_grey_and_palette_pictures_are_read(tmp_path) -> None:
    save(tmp_path / "a.png", 255, mode="L")
    save(tmp_path / "b.png", 255, mode="P")
    assert next(picture_folder(tmp_path).batches()).shape == (2, 3, 6, 4)


def test_pictures_are_read_as_they_look(tmp_path) -> None:
    """Dark ones of 16 bits, turned ones, and ones with nothing but a clear background."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.full((6, 4), 13107, dtype=np.uint16)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 4), (51, 51, 51)).save(tmp_path / "b.png", exif=turned)
    Image.new("RGBA", (4, 6), (51, 51, 51, 0)).save(tmp_path / "c.png")
    seen = next(picture_folder(tmp_path).batches())
    assert seen.shape == (3, 3, 6, 4)
    assert torch.allclose(seen.mean(dim=(1, 2, 3)), torch.tensor([0.2, 0.2, 1.0]))


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(tmp_path) -> None:
    with pytest.raises(BadConfig, match="there is no folder"):
        picture_folder(tmp_path / "nowhere")
    with pytest.raises(BadConfig, match="holds no pictures"):
        picture_folder(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadConfig, match=r"broken\.png' is not an image"):
        list(picture_folder(tmp_path).batches())


def test_renders_of_prompts_are_what_each_asks_for() -> None:
    prompts = ["a red ring", "two blue stars", "a green heart left of a pink cross on a black background"]
    pictures = renders_of(prompts, images=20)
    images = torch.cat(list(pictures.batches()))
    assert pictures.groups == (0,) * 7 + (1,) * 7 + (2,) * 7
    requests = [parse(prompts[group]) for group in pictures.groups]
    assert all(verdict.right for verdict in judge(images, requests))
    assert len({image.numpy().tobytes() for image in images}) == 21
    assert torch.equal(torch.cat(list(renders_of(prompts, images=20, batch_size=4).batches())), images)
    assert not torch.equal(torch.cat(list(renders_of(prompts, images=20, seed=1).batches())), images)


def test_renders_of_a_training_are_none_that_a_measure_draws() -> None:
    prompts = [prompt.text for prompt in pocket_eval_prompts()[:40]]
    ours = {image.numpy().tobytes() for batch in renders_of(prompts, images=40).batches() for image in batch}
    pictures = pocket_renders(images_per_prompt=2)
    theirs = [image.numpy().tobytes() for batch in itertools.islice(pictures.batches(), 2) for image in batch]
    assert len(ours) == 40
    assert not ours & set(theirs)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("a fox", "'a fox' is not about the pocket world's shapes and colours, so there are no renders of it"),
        ("four red rings and four stars", "asks for 8 things; scenes hold up to 4 equal ones, or one each of two"),
        ("two red rings and a blue star", "asks for 3 things"),
    ],
)
def test_what_cannot_be_rendered_is_one_sentence(prompt: str, says: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(says)):
        renders_of(["a red ring", prompt])


def test_a_scene_that_cannot_be_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_sets, "_TRIES", 50)
    never = Request(task="counting", wanted=(Wanted(shape="ring", count=4),), background="nowhere")
    with pytest.raises(BadConfig, match="no scene is all of"):
        scene_for(never, np.random.default_rng(0))


def test_a_reference_is_renders_a_folder_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_sets, "MANY", 3)
    net = Means()
    assert reference_features("renders", net, prompts=["a red ring"]).moments.count == 3
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    folder = reference_features(str(tmp_path), net, prompts=["a fox"])
    assert folder.moments.count == 4
    folder.save(tmp_path / "real.safetensors")
    again = reference_features(str(tmp_path / "real.safetensors"), net, prompts=["a fox"])
    assert torch.equal(again.moments.mean, folder.moments.mean)
    with pytest.raises(BadConfig, match="there is no statistics file"):
        reference_features("nowhere", net, prompts=["a fox"])
    with pytest.raises(BadConfig, match="there is no prompt"):
        renders_of([])
