import pytest
import torch
from tiny_token_models import (
    CODE_DIM,
    VOCABULARY,
    attention,
    conv,
    down,
    out,
    resnet,
    save_llamagen_files,
    up,
    vq_weights,
)

from plaudit.core.errors import BadConfig
from plaudit.generators.codebook import Codebook
from plaudit.generators.llamagen_files import tokenizer_sizes_of
from plaudit.generators.token_files import filled, read_published
from plaudit.generators.vq_tokenizer import DS8, DS16, TokenizerSizes, VQTokenizer, from_autoencoder_kl

POCKET = {
    "block_out_channels": (16, 32, 64, 128),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
"""the sizes of the pocket models' autoencoder"""


@pytest.fixture
def weights():
    return vq_weights()


@pytest.fixture
def tokenizer(weights, tmp_path):
    return filled(lambda: VQTokenizer(tokenizer_sizes_of(weights)), weights, tmp_path / "vq.pt")


def pictures(count=2, size=8, seed=3):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def encoder(w, images):
    """What the published encoder makes of pixels, (B, CODE_DIM, h, w)."""
    x = conv(w, "encoder.conv_in", images * 2 - 1, padding=1)
    x = down(w, "encoder.conv_blocks.0.downsample.conv", resnet(w, "encoder.conv_blocks.0.res.0", x))
    x = attention(w, "encoder.conv_blocks.1.attn.0", resnet(w, "encoder.conv_blocks.1.res.0", x))
    x = resnet(w, "encoder.mid.2", attention(w, "encoder.mid.1", resnet(w, "encoder.mid.0", x)))
    return conv(w, "quant_conv", out(w, "encoder", x))


def decoder(w, latents):
    x = conv(w, "decoder.conv_in", conv(w, "post_quant_conv", latents), padding=1)
    x = resnet(w, "decoder.mid.2", attention(w, "decoder.mid.1", resnet(w, "decoder.mid.0", x)))
    for number in range(2):
        x = resnet(w, f"decoder.conv_blocks.0.res.{number}", x)
        x = attention(w, f"decoder.conv_blocks.0.attn.{number}", x)
    x = up(w, "decoder.conv_blocks.0.upsample.conv", x)
    for number in range(2):
        x = resnet(w, f"decoder.conv_blocks.1.res.{number}", x)
    return out(w, "decoder", x)


def test_tokens_are_the_published_encoders_nearest_codes_in_raster_order(tokenizer, weights):
    images = pictures()
    latents = encoder(weights, images)
    codes = weights["quantize.embedding.weight"]
    expected = torch.zeros(2, 16, dtype=torch.long)
    for image in range(2):
        for place in range(16):
            latent = latents[image, :, place // 4, place % 4]
            cosines = [torch.dot(latent, code) / (latent.norm() * code.norm()) for code in codes]
            expected[image, place] = int(torch.stack(cosines).argmax())
    with torch.no_grad():
        found = tokenizer.encode(images)
        assert torch.allclose(tokenizer.latents(images), latents, atol=1e-5)
    assert torch.equal(found, expected)
    assert len(expected.unique()) > 4


def test_images_are_the_published_decoders_of_codes_of_length_one(tokenizer, weights):
    tokens = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))
    codes = weights["quantize.embedding.weight"][tokens]
    codes = codes / codes.square().sum(-1, keepdim=True).sqrt()
    pixels = decoder(weights, codes.reshape(2, 3, 3, CODE_DIM).permute(0, 3, 1, 2))
    with torch.no_grad():
        found = tokenizer.decode(tokens)
    assert found.shape == (2, 3, 6, 6)
    assert torch.allclose(found, (pixels / 2 + 0.5).clamp(0, 1), atol=1e-5)
    assert found.std() > 0.05


def test_an_image_does_not_depend_on_its_batch(tokenizer):
    images = pictures(3)
    with torch.no_grad():
        tokens = tokenizer.encode(images)
        assert torch.equal(tokens[1:2], tokenizer.encode(images[1:2]))
        assert torch.allclose(tokenizer.decode(tokens)[1:2], tokenizer.decode(tokens[1:2]), atol=1e-6)


def test_pictures_need_not_be_square_if_their_rows_are_told(tokenizer):
    images = torch.rand(1, 3, 4, 8)
    with torch.no_grad():
        tokens = tokenizer.encode(images)
        assert tokens.shape == (1, 8)
        assert tokenizer.decode(tokens, height=2).shape == (1, 3, 4, 8)
    with pytest.raises(BadConfig, match="8 tokens do not fill a square"):
        tokenizer.decode(tokens)
    with pytest.raises(BadConfig, match="2 x 2 pixels"):
        tokenizer.encode(torch.rand(1, 3, 7, 8))


@pytest.mark.parametrize(
    ("nest", "file"), [("model", "vq.pt"), ("ema", "vq.pt"), ("state_dict", "vq.pt")], ids=lambda it: it
)
def test_the_published_pickle_is_read_wherever_its_weights_are(tmp_path, nest, file):
    save_llamagen_files(tmp_path, tokenizer_nest=nest)
    found = read_published(tmp_path / file, parts=("model", "ema", "state_dict"))
    assert found.keys() == {*vq_weights(), "quantize.codebook_used"}


def test_the_published_tokenizers_have_their_published_numbers_of_parameters():
    with torch.device("meta"):
        found = [sum(weight.numel() for weight in VQTokenizer(sizes).parameters()) / 1e6 for sizes in (DS16, DS8)]
    assert found == pytest.approx([72, 70], abs=0.6)
    assert (DS16.shrink, DS8.shrink) == (16, 8)


def test_the_nearest_code_is_the_nearest_by_brute_force_on_the_sphere_and_off_it():
    rng = torch.Generator().manual_seed(5)
    rows, codes = torch.randn(50, 3, generator=rng), torch.randn(20, 3, generator=rng)
    codes *= torch.rand(20, 1, generator=rng) * 3
    for on_sphere in (True, False):
        book = Codebook(20, 3, on_sphere=on_sphere)
        book.load_state_dict({"embedding.weight": codes})
        placed = [it / it.norm(dim=1, keepdim=True) if on_sphere else it for it in (rows, codes)]
        distances = (placed[0][:, None] - placed[1][None]).square().sum(-1)
        assert torch.equal(book.nearest(rows), distances.argmin(1))
        assert torch.allclose(book.look_up(torch.arange(20)), placed[1])
    assert (distances.argmin(1) != (rows @ codes.T).argmax(1)).any()


def test_nearest_codes_found_in_pieces_are_the_same(monkeypatch):
    book = Codebook(20, 3, on_sphere=True)
    rows = torch.randn(50, 3)
    whole = book.nearest(rows)
    monkeypatch.setattr("plaudit.generators.codebook.CHUNK_NUMBERS", 60)
    assert torch.equal(book.nearest(rows), whole)


def test_quantising_teaches_codes_and_encoder_each_by_its_own_term_and_passes_gradients_straight_through():
    book = Codebook(6, 3, on_sphere=True)
    latents = torch.randn(2, 3, 2, 2, requires_grad=True)
    found = book.quantise(latents)
    placed = torch.nn.functional.normalize(latents, dim=1)
    codes = book.look_up(found.tokens).reshape(2, 2, 2, 3).permute(0, 3, 1, 2)
    assert torch.allclose(found.latents, codes, atol=1e-6)
    assert found.codebook_loss.item() == pytest.approx((placed - codes).square().mean().item(), rel=1e-5)
    assert found.commitment_loss.item() == pytest.approx(found.codebook_loss.item(), rel=1e-5)
    assert torch.autograd.grad(found.codebook_loss, latents, allow_unused=True, retain_graph=True) == (None,)
    weight = book.embedding.weight
    assert torch.autograd.grad(found.codebook_loss, weight, retain_graph=True)[0].abs().sum() > 0
    assert torch.autograd.grad(found.commitment_loss, weight, allow_unused=True, retain_graph=True) == (None,)
    ahead = torch.randn(2, 3, 2, 2)
    through = torch.autograd.grad((found.latents * ahead).sum(), latents, retain_graph=True)[0]
    assert torch.allclose(through, torch.autograd.grad((placed * ahead).sum(), latents)[0], atol=1e-6)


def test_entropies_tell_a_decided_place_from_an_undecided_one_and_even_use_from_one_sided():
    book = Codebook(4, 2, on_sphere=True)
    book.load_state_dict({"embedding.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])})
    even = book.quantise(book.vectors().T.reshape(1, 2, 2, 2))
    assert even.tokens.tolist() == [[0, 1, 2, 3]]
    assert even.usage_entropy.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-5)
    assert even.place_entropy.item() == pytest.approx(0, abs=1e-5)
    between = book.quantise(torch.ones(1, 2, 2, 2))
    assert between.place_entropy.item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-5)
    one = book.quantise(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2))
    assert one.usage_entropy.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("latents", "attends", "convolves"), [(8, True, True), (4, True, False), (8, False, True)])
def test_a_tokenizer_from_an_autoencoder_encodes_and_decodes_as_that_does(latents, attends, convolves):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        **POCKET,
        latent_channels=latents,
        mid_block_add_attention=attends,
        use_quant_conv=convolves,
        use_post_quant_conv=convolves,
    ).eval()
    made = from_autoencoder_kl(vae, codebook_size=32, codebook_dim=8, rng=torch.Generator().manual_seed(0))
    images = pictures(2, 16)
    with torch.no_grad():
        means = vae.encode(images * 2 - 1).latent_dist.mean
        found = made.latents(images)
        assert torch.allclose(found[:, :latents], means, atol=1e-5)
        assert torch.allclose(made.paint(found), vae.decode(means).sample / 2 + 0.5, atol=1e-5)
        assert means.std() > 0.01
        assert made.encode(images).shape == (2, 4)
    assert found[:, latents:].abs().sum() > 0 or latents == 8
    assert torch.allclose(made.quantize.embedding.weight.norm(dim=1), torch.ones(32))


def test_all_of_a_tokenizer_from_an_autoencoder_can_learn():
    from diffusers import AutoencoderKL

    made = from_autoencoder_kl(
        AutoencoderKL(**POCKET, latent_channels=4), codebook_size=32, rng=torch.Generator().manual_seed(0)
    )
    found = made.quantise(pictures(2, 16))
    loss = (made.paint(found.latents) - pictures(2, 16)).square().mean() + found.codebook_loss + found.commitment_loss
    loss.backward()
    still = {name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0}
    # Behind an attention that adds nothing yet, all but its way out waits for that to move.
    extra = {name for name in still if ".attn." in name and "proj_out" not in name}
    assert still == extra


def test_an_autoencoder_of_another_build_is_refused():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**POCKET, latent_channels=16)
    with pytest.raises(BadConfig, match="a code of 8 numbers cannot hold latents of 16 channels"):
        from_autoencoder_kl(vae, rng=torch.Generator())


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(BadConfig, match="32 norm groups do not divide a level of 16 channels"):
        TokenizerSizes(channels=16)
