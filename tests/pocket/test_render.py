"""Areas, colours and edges of rendered shapes against geometry."""

import math

import pytest
import torch

from plaudit.pocket.render import coverage_of, coverages, render
from plaudit.pocket.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing

# Areas at radius 1, from the shapes' definitions.
AREAS = {
    "circle": math.pi * 0.97**2,
    "square": 1.72**2,
    "triangle": 1.75,
    "cross": 4 * 0.68 * 1.0 - 0.68**2,
    "ring": math.pi * (1 - 0.25),
    "diamond": 2 * 0.86 * 1.05,
    "star": 10 * 0.5 * 1.05 * 0.46 * math.sin(math.pi / 5),
}


@pytest.mark.parametrize("shape", sorted(AREAS))
@pytest.mark.parametrize("radius", [9.0, 17.0])
def test_a_shape_covers_its_area(shape: str, radius: float) -> None:
    area = float(coverage_of(shape, centre=(32.3, 31.6), radius=radius).sum())
    assert area == pytest.approx(AREAS[shape] * radius**2, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_symmetric_left_to_right(shape: str) -> None:
    cover = coverage_of(shape, centre=(32, 32), radius=15)
    assert torch.allclose(cover, cover.flip(1), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_soft_and_insides_are_full(shape: str) -> None:
    cover = coverage_of(shape, centre=(32.2, 31.9), radius=15)
    assert cover.max() == 1
    assert cover.min() == 0
    assert ((cover > 0.1) & (cover < 0.9)).any()


def test_many_at_once_equal_one_by_one() -> None:
    centres, radii = torch.tensor([[20.0, 30.0], [40.5, 22.25]]), torch.tensor([9.0, 14.0])
    both = coverages("star", centres, radii)
    for index, centre in enumerate(((20.0, 30.0), (40.5, 22.25))):
        assert torch.equal(both[index], coverage_of("star", centre=centre, radius=float(radii[index])))


def test_a_picture_has_its_colours_and_does_not_depend_on_its_batch() -> None:
    scene = Scene(background="grey", things=(Thing(shape="circle", colour="pink", x=20, y=40, radius=10),))
    other = Scene(background="black", things=(Thing(shape="heart", colour="blue", x=40, y=20, radius=12),))
    image = render([other, scene])[1]
    assert torch.equal(image, render([scene])[0])
    assert torch.allclose(image[:, 40, 20] * 255, torch.tensor(COLOURS["pink"]).float())
    assert torch.allclose(image[:, 2, 2] * 255, torch.tensor(BACKGROUNDS["grey"]).float())


def test_no_scenes_make_no_pictures() -> None:
    assert render([]).shape == (0, 3, 64, 64)
