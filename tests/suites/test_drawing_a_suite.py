"""How a suite's rows are drawn and handed to its judge: how many at once, which prompts are read, on which device."""

import dataclasses

import pytest
import torch
from pocket_toys import Closeness, Revealer

from plaudit.methods.reno import RenoConfig, optimise_noise
from plaudit.suites.run import BATCH_SIZE, draw_and_judge, pocket
from plaudit.suites.suite import Opinion


class Watched(Revealer):
    """Knows what it read and how many pictures it drew at once."""

    def __init__(self):
        super().__init__()
        self.read, self.at_once = [], []

    def encode(self, prompts):
        self.read.append(list(prompts))
        return super().encode(prompts)

    def sample(self, noise, condition):
        self.at_once.append(len(noise))
        return super().sample(noise, condition)


@pytest.mark.parametrize(("settings", "expected"), [({}, [BATCH_SIZE, 4]), ({"batch_size": 8}, [8, 8, 4])])
def test_pictures_that_are_taken_as_they_come_are_drawn_so_many_at_once(settings, expected):
    generator = Watched()
    drawn = [len(images) for _, images in draw_and_judge(pocket(), generator, range(20), **settings)]
    assert drawn == generator.at_once == expected


def test_only_prompts_whose_pictures_are_drawn_are_read():
    generator, suite = Watched(), pocket()
    list(draw_and_judge(suite, generator, [8, 9, 21], images_per_prompt=4))
    assert generator.read == [[suite.prompts[2].text, suite.prompts[5].text]]


def test_the_judge_sees_a_methods_pictures_on_the_generators_device():
    """So whatever follows its pictures' device works there. The one here has no data, only a name."""
    seen = []

    def note(images, prompts):
        seen.append((images.device.type, len(images)))
        return [Opinion(score=1.0, right=None) for _ in prompts]

    def draw(prompts, only):
        config = RenoConfig(steps=1, images_per_prompt=1, batch_size=3)
        return optimise_noise(Revealer(), Closeness(), prompts, config, only=only)

    elsewhere = Revealer()
    elsewhere.device = torch.device("meta")
    suite = dataclasses.replace(pocket(), scorer=lambda: note)
    ((_, images),) = draw_and_judge(suite, elsewhere, [0, 1], draw=draw, images_per_prompt=1)
    assert seen == [("meta", 2)]
    assert images.device.type == "cpu", "those that are kept stay where they were"
