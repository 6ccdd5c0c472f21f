"""What was trained is laid over what it was trained on, in the training's steps; what does not fit is one sentence."""

import json

import pytest
import torch
from conftest import save_stable_diffusion
from made_trainings import made_training
from safetensors.torch import load_file, save_file

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.check import check_generator
from plaudit.generators.table import load_generator
from plaudit.generators.trained_part import LORA_FILE, add_lora
from plaudit.generators.tuned import choose

PROMPTS = ["a red square", "two blue circle"]


def drawn(generator):
    noise = noise_for([(0,), (1,)], generator.noise_shape)
    with torch.no_grad():
        return generator.sample(noise, generator.encode(PROMPTS))


@pytest.fixture(scope="module")
def training(sd_folder, tmp_path_factory):
    return made_training(tmp_path_factory.mktemp("trained") / "run", sd_folder).path


def test_a_trainings_folder_is_its_model_in_its_steps_with_what_it_learned(sd_folder, training):
    tuned = load_generator(str(training))
    assert tuned.steps == 3
    assert not torch.allclose(drawn(tuned), drawn(load_generator(str(sd_folder), steps=3)), atol=1e-3)
    for named in (training, training / LORA_FILE):
        by_hand = load_generator(str(sd_folder), steps=3, lora=named)
        torch.testing.assert_close(drawn(by_hand), drawn(tuned))
    check_generator(tuned)


def test_what_is_laid_over_is_frozen_and_part_of_the_weights(sd_folder, training):
    tuned, plain = load_generator(str(training)), load_generator(str(sd_folder))
    assert not any(parameter.requires_grad for parameter in tuned.denoiser.parameters())
    assert not tuned.denoiser.training
    assert tuned.denoiser.state_dict().keys() == plain.denoiser.state_dict().keys()
    # And can be trained on.
    add_lora(tuned.denoiser, rank=2)


def test_the_scale_says_how_much_of_it(sd_folder, training):
    plain, full = (load_generator(str(sd_folder), steps=3, **more).denoiser for more in ({}, {"lora": training}))
    half = load_generator(str(sd_folder), lora=training, lora_scale=0.5).denoiser
    none = load_generator(str(sd_folder), lora=training, lora_scale=0.0).denoiser
    for (name, start), other, middle, same in zip(
        plain.state_dict().items(), full.state_dict().values(), half.state_dict().values(), none.state_dict().values(),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(middle, (start + other) / 2, msg=name)
        torch.testing.assert_close(same, start, msg=name)


def test_all_weights_take_the_models_place(sd_folder, tmp_path):
    path = made_training(tmp_path / "run", sd_folder, whole=True, by=0.05).path
    tuned = load_generator(str(path))
    weights = load_file(path / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in tuned.denoiser.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tuned.denoiser.parameters())
    torch.testing.assert_close(drawn(load_generator(str(sd_folder), lora=path)), drawn(tuned))
    with pytest.raises(BadConfig, match="take no scale"):
        load_generator(str(sd_folder), lora=path, lora_scale=0.5)


def test_a_training_on_a_training_keeps_both(sd_folder, training, tmp_path):
    second = made_training(tmp_path / "second", training, steps=None, by=-0.3).path
    chosen = choose(str(second))
    assert (chosen.model, chosen.steps) == (str(sd_folder), 3)
    assert [patch.place for patch in chosen.patches] == [training, second]
    by_hand = load_generator(str(training), lora=second / LORA_FILE)
    torch.testing.assert_close(drawn(load_generator(str(second))), drawn(by_hand))


@pytest.mark.parametrize(
    ("model", "given", "steps"),
    [
        (None, None, 3),
        ("SELF", None, 3),
        ("BASE", None, 3),
        ("elsewhere/base", None, 3),
        ("pocket-turbo", None, None),
        (None, 7, 7),
        ("pocket-turbo", 7, 7),
    ],
)
def test_the_steps_are_the_trainings_unless_another_is_said(sd_folder, training, model, given, steps):
    model = {"BASE": str(sd_folder), "SELF": str(training)}.get(model, model)
    chosen = choose(model, lora=training, steps=given)
    assert chosen.steps == steps
    assert len(chosen.patches) == 1
    assert chosen.model == (str(sd_folder) if model in (None, str(training)) else model)


def test_a_lora_alone_says_nothing_of_model_or_steps(sd_folder, training):
    assert choose(str(sd_folder), lora=training / LORA_FILE).steps is None
    with pytest.raises(BadConfig, match="does not say which model it was made for; name it with --model"):
        choose(None, lora=training / LORA_FILE)


def test_a_training_that_began_with_itself_is_refused(training, tmp_path):
    path = made_training(tmp_path / "run", training).path
    manifest = json.loads((path / "run.json").read_text())
    manifest["settings"]["model"] = str(path)
    (path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(BadConfig, match="names itself"):
        load_generator(str(path))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda path: (path / LORA_FILE).unlink(), "has left no weights yet; go on with: plaudit train rlcm --resume"),
        (lambda path: (path / "run.json").write_text("{"), "is damaged: it is not JSON"),
        (lambda path: (path / "run.json").write_text('{"kind": "training"}'), "does not say which model"),
    ],
)
def test_a_broken_training_is_one_sentence(sd_folder, tmp_path, broken, says):
    path = made_training(tmp_path / "run", sd_folder).path
    broken(path)
    with pytest.raises(BadConfig, match=says):
        load_generator(str(path))


def test_a_place_without_a_lora_is_one_sentence(sd_folder, tmp_path):
    (tmp_path / "lora.bin").write_bytes(b"")
    (tmp_path / "lora.safetensors").write_bytes(b"no")
    for place, says in (
        ("nowhere", "there is no LoRA at"),
        (".", "neither a training's folder nor one that holds"),
        ("lora.bin", "not a safetensors file"),
        ("lora.safetensors", "is not a LoRA's safetensors file"),
    ):
        with pytest.raises(BadConfig, match=says):
            load_generator(str(sd_folder), lora=tmp_path / place)
    with pytest.raises(BadConfig, match="finite"):
        load_generator(str(sd_folder), lora=tmp_path / "lora.bin", lora_scale=float("nan"))


def test_another_models_lora_is_refused_before_anything_is_changed(sd_folder, training, tmp_path, capfd):
    weights = load_file(training / LORA_FILE)
    first = next(name for name in weights if "lora_A" in name)
    layer = first.removeprefix("unet.").removesuffix(".lora_A.weight")
    wide = {**weights, first: torch.zeros(2, 99)}
    elsewhere = {**weights, "unet.down_blocks.7.to_q.lora_A.weight": torch.zeros(2, 8)}
    for content, says in (
        (wide, f"whose layer {layer} reads .* numbers and not 99"),
        (elsewhere, "has no layer down_blocks.7.to_q"),
        ({"text_encoder.x.lora_A.weight": torch.zeros(2, 8)}, "holds no LoRA of a U-Net"),
    ):
        save_file(content, tmp_path / "lora.safetensors")
        with pytest.raises(BadConfig, match=says):
            load_generator(str(sd_folder), lora=tmp_path / "lora.safetensors")
    assert capfd.readouterr().err.count("unsuccessful") == 0


def test_what_has_no_u_net_is_told_so(training, tmp_path):
    from tiny_families import save_pixart

    with pytest.raises(BadConfig, match="Stable Diffusion 3's transformer, which PixArtAlpha does not have"):
        load_generator(str(save_pixart(tmp_path / "pixart")), steps=1, lora=training)


@pytest.mark.parametrize("form", ["{layer}.lora.{side}.weight", "{block}.processor.{projection}_lora.{side}.weight"])
def test_older_names_of_a_layer_are_checked_too(sd_folder, training, tmp_path, form):
    content = {}
    for name, value in load_file(training / LORA_FILE).items():
        layer, side = name.removesuffix(".weight").rsplit(".lora_", 1)
        block, projection = layer.removesuffix(".0").rsplit(".", 1)
        side = {"A": "down", "B": "up"}[side]
        content[form.format(layer=layer, block=block, projection=projection, side=side)] = value
    save_file(content, tmp_path / "old.safetensors")
    torch.testing.assert_close(
        drawn(load_generator(str(sd_folder), lora=tmp_path / "old.safetensors", steps=3)),
        drawn(load_generator(str(training))),
    )
    name = next(iter(content))
    save_file({**content, name: torch.zeros(99, 99)}, tmp_path / "wide.safetensors")
    with pytest.raises(BadConfig, match="numbers and not 99"):
        load_generator(str(sd_folder), lora=tmp_path / "wide.safetensors")


def test_a_model_with_another_schedule_takes_it_too(training, tmp_path):
    """A latent consistency model of the same U-Net."""
    folder = save_stable_diffusion(tmp_path / "lcm", scheduler="lcm")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "LatentConsistencyModelPipeline"}))
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**config, "time_cond_proj_dim": 8}))
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    size = weights["time_embedding.linear_1.weight"].shape[1]
    weights["time_embedding.cond_proj.weight"] = torch.zeros(size, 8)
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    tuned = load_generator(str(folder), lora=training)
    assert tuned.num_steps == 3
    assert not torch.allclose(drawn(tuned), drawn(load_generator(str(folder), steps=3)), atol=1e-3)
