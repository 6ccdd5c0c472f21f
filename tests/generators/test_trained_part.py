import pytest
import torch
from safetensors import SafetensorError

from plaudit.core.errors import BadConfig
from plaudit.core.random_streams import noise_for
from plaudit.generators.ddim_policy import DDIMPolicy
from plaudit.generators.lora import merge_lora
from plaudit.generators.stable_diffusion import StableDiffusion
from plaudit.generators.trained_part import (
    LORA_FILE,
    add_lora,
    has_lora,
    save_all,
    save_lora,
    train_all,
    without_lora,
)


def first_mean(policy):
    noise = noise_for([(0,), (1,)], policy.noise_shape)
    return policy.step(noise, torch.tensor([0, 1]), policy.encode(["a red square", "two blue circle"])).mean


def policy_of(folder):
    return DDIMPolicy(StableDiffusion.from_pretrained(folder, steps=3))


def changed(denoiser):
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.05)


def test_a_lora_starts_as_nothing_and_alone_is_trained(sd_folder):
    policy = policy_of(sd_folder)
    before = first_mean(policy)
    add_lora(policy.denoiser, rank=4)
    assert torch.equal(first_mean(policy), before)
    trained = [name for name, parameter in policy.denoiser.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    first_mean(policy).sum().backward()
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in policy.denoiser.named_parameters() if "lora_B" in n
    )


def test_the_start_is_there_whenever_asked_for(sd_folder):
    policy = policy_of(sd_folder)
    before = first_mean(policy)
    add_lora(policy.denoiser, rank=4)
    changed(policy.denoiser)
    after = first_mean(policy)
    assert not torch.allclose(after, before, atol=1e-4)
    with without_lora(policy.denoiser):
        assert torch.equal(first_mean(policy), before)
    assert torch.equal(first_mean(policy), after)
    # A gradient that was under way when the LoRA was switched off still reaches it.
    mean = first_mean(policy)
    with torch.no_grad(), without_lora(policy.denoiser):
        first_mean(policy)
    mean.sum().backward()
    assert all(p.grad is not None for n, p in policy.denoiser.named_parameters() if "lora_B" in n)


def test_it_is_the_same_for_the_same_seed_and_leaves_the_global_stream_alone(sd_folder):
    drawn = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        policy = policy_of(sd_folder)
        torch.manual_seed(5)
        add_lora(policy.denoiser, rank=4, seed=seed)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
        drawn[name] = torch.cat([p.flatten() for n, p in policy.denoiser.named_parameters() if "lora_A" in n])
    assert torch.equal(drawn["one"], drawn["again"])
    assert not torch.equal(drawn["one"], drawn["other"])


@pytest.mark.parametrize("alpha", [None, 4.0])
def test_a_saved_lora_merged_into_the_start_is_what_was_trained(sd_folder, tmp_path, alpha):
    policy = policy_of(sd_folder)
    add_lora(policy.denoiser, rank=4, alpha=alpha)
    changed(policy.denoiser)
    file = save_lora(policy.denoiser, tmp_path)
    fresh = policy_of(sd_folder)
    merge_lora(fresh.denoiser, file)
    torch.testing.assert_close(first_mean(fresh), first_mean(policy).detach(), rtol=1e-4, atol=1e-4)


def test_a_lora_that_diffusers_wrote_with_its_alpha_is_merged_with_it(sd_folder, tmp_path):
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    policy = policy_of(sd_folder)
    add_lora(policy.denoiser, rank=4, alpha=20)
    changed(policy.denoiser)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(policy.denoiser),
        unet_lora_adapter_metadata=policy.denoiser.peft_config["default"].to_dict(),
    )
    fresh = policy_of(sd_folder)
    merge_lora(fresh.denoiser, tmp_path / LORA_FILE)
    torch.testing.assert_close(first_mean(fresh), first_mean(policy).detach(), rtol=1e-4, atol=1e-4)


def test_all_weights_may_be_trained(sd_folder):
    policy = policy_of(sd_folder)
    train_all(policy.denoiser)
    assert all(parameter.requires_grad for parameter in policy.denoiser.parameters())


def test_what_cannot_have_a_lora_is_said(sd_folder):
    policy = policy_of(sd_folder)
    with pytest.raises(BadConfig, match="no layers named nowhere"):
        add_lora(policy.denoiser, targets=["nowhere"])
    with pytest.raises(BadConfig, match="rank must be at least 1"):
        add_lora(policy.denoiser, rank=0)


def test_all_weights_are_left_as_a_pipelines_unet(sd_folder, tmp_path):
    import diffusers

    unet = diffusers.UNet2DConditionModel.from_pretrained(str(sd_folder), subfolder="unet")
    train_all(unet)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.5)
    assert not has_lora(unet)
    for _ in range(2):  # a second time takes the place of the first
        assert save_all(unet, tmp_path) == tmp_path / "unet"
    assert sorted(file.name for file in tmp_path.rglob("*")) == [
        "config.json", "diffusion_pytorch_model.safetensors", "unet",
    ]  # fmt: skip
    again = diffusers.UNet2DConditionModel.from_pretrained(str(tmp_path), subfolder="unet")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in unet.state_dict().items())
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        str(sd_folder), unet=again, safety_checker=None, feature_extractor=None
    )
    assert pipeline.unet is again


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_full_disk_leaves_what_was_there(sd_folder, tmp_path, monkeypatch, error):
    unet = StableDiffusion.from_pretrained(sd_folder).unet
    add_lora(unet, rank=2)
    assert has_lora(unet)
    before = save_lora(unet, tmp_path).read_bytes()

    def full(*_, **__):
        raise error

    monkeypatch.setattr("diffusers.StableDiffusionPipeline.save_lora_weights", full)
    with pytest.raises(OSError, match="space"):
        save_lora(unet, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [LORA_FILE]
    assert (tmp_path / LORA_FILE).read_bytes() == before
