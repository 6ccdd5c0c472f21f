import pytest
import torch
from toys import Painter

from plaudit.core.random_streams import noise_for
from plaudit.methods.rows import batches

PROMPTS = ["a", "bb", "ccc"]


def rows_of(batch_size, *, images_per_prompt=2):
    return list(batches(Painter(), PROMPTS, seed=4, images_per_prompt=images_per_prompt, batch_size=batch_size))


@pytest.mark.parametrize("batch_size", [1, 4, 6, 50])
def test_an_image_s_row_is_prompt_by_prompt(batch_size):
    runs = rows_of(batch_size)
    assert [row for rows in runs for row in rows.indices] == [0, 1, 2, 3, 4, 5]
    assert [prompt for rows in runs for prompt in rows.prompts] == ["a", "a", "bb", "bb", "ccc", "ccc"]
    lengths = torch.cat([rows.condition.values for rows in runs])
    torch.testing.assert_close(lengths, torch.tensor([0.01, 0.01, 0.02, 0.02, 0.03, 0.03]))
    assert max(len(rows) for rows in runs) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_an_image_s_noise_is_its_own_stream_s(batch_size):
    generator = Painter()
    noise = torch.cat([rows.noise(generator) for rows in rows_of(batch_size)])
    keys = [(4, prompt, image) for prompt in range(3) for image in range(2)]
    assert torch.equal(noise, noise_for(keys, Painter.noise_shape))


def test_candidates_are_other_noises():
    rows = rows_of(6)[0]
    noises = torch.cat([rows.noise(Painter(), candidate) for candidate in range(3)])
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 18
    assert torch.equal(noises[:6], rows.noise(Painter()))


def test_some_rows_keep_all_that_is_theirs():
    kept = rows_of(6)[0].keep([5, 2])
    assert kept.indices == (5, 2)
    assert kept.prompts == ("ccc", "bb")
    torch.testing.assert_close(kept.condition.values, torch.tensor([0.03, 0.02]))
    expected = noise_for([(4, 2, 1), (4, 1, 0)], Painter.noise_shape)
    assert torch.equal(kept.noise(Painter()), expected)


def test_only_the_prompts_whose_rows_are_chosen_are_encoded_each_once():
    generator = Painter()
    runs = list(batches(generator, PROMPTS, seed=4, images_per_prompt=2, batch_size=2, only=[5, 0, 4]))
    assert generator.encoded == ["ccc", "a"]
    assert [rows.prompts for rows in runs] == [("ccc", "a"), ("ccc",)]
    assert [rows.indices for rows in runs] == [(5, 0), (4,)]
    torch.testing.assert_close(torch.cat([rows.condition.values for rows in runs]), torch.tensor([0.03, 0.01, 0.03]))
    # A row's noise is that of its place in the whole run.
    assert torch.equal(runs[1].noise(generator), noise_for([(4, 2, 0)], Painter.noise_shape))


def test_where_no_row_is_chosen_nothing_is_encoded():
    generator = Painter()
    assert list(batches(generator, PROMPTS, seed=4, images_per_prompt=2, batch_size=2, only=[])) == []
    assert generator.encoded == []
