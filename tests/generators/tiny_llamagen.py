"""Fixtures: LlamaGen read from tiny files in the published formats, told classes or captions."""

import pytest
from tiny_token_models import IMAGE_SIZE, know_the_tiny_width, save_llamagen_files, save_t5

from plaudit.generators.llamagen_files import load_published_llamagen


@pytest.fixture
def by_class(tmp_path, monkeypatch):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path)
    return load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE)


@pytest.fixture
def by_caption(tmp_path, monkeypatch):
    know_the_tiny_width(monkeypatch)
    transformer, tokenizer = save_llamagen_files(tmp_path, captions=True)
    text = save_t5(tmp_path / "t5")
    return load_published_llamagen(transformer, tokenizer=tokenizer, image_size=IMAGE_SIZE, text_encoder=text)


@pytest.fixture(params=["by_class", "by_caption"])
def policy(request):
    return request.getfixturevalue(request.param)
