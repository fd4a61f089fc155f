import numpy as np
import pytest
import torch
from torch import nn

from lib.networks.engines import Source, TorchEngine, has_bfloat16, make_engine
from lib.refusals import Refusal


def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.InstanceNorm2d(8, affine=True),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.InstanceNorm2d(8, affine=True),
        nn.LeakyReLU(inplace=True),
        nn.ConvTranspose2d(8, 3, 2, stride=2),
    )


@pytest.fixture(scope="module")
def networks():
    made = {}
    for fold in (0, 2, 4):
        torch.manual_seed(fold)
        made[fold] = build().eval()
    return made


@pytest.fixture(scope="module")
def source(networks):
    weights = {fold: network.state_dict for fold, network in networks.items()}
    return Source(build=build, weights=weights, digests={0: "a", 2: "b", 4: "c"}, channels=1, stride=(2, 2))


@pytest.mark.parametrize("folds", [(0, 2, 4), (4,), (2, 0)])
@pytest.mark.parametrize("name", ["torch", "together", "openvino", "auto"])
def test_every_engine_gives_each_folds_own_logits(networks, source, name, folds):
    engine = TorchEngine(source, "cpu", together=True) if name == "together" else make_engine(name, source)
    for shape in ((16, 24), (32, 10)):
        image = np.random.default_rng(1).standard_normal((1, 1, *shape), dtype=np.float32)
        logits = engine.run(image, folds).logits.cpu()
        assert logits.shape == (len(folds), 3, *shape)
        for fold, ours in zip(folds, logits, strict=True):
            with torch.no_grad():
                expected = networks[fold](torch.from_numpy(image))[0]
            tolerance = 1e-3 if name != "auto" or not torch.cuda.is_available() else 0.1  # bfloat16
            assert torch.allclose(ours, expected, atol=tolerance)


def test_large_kernels_are_inputs_and_change_nothing(networks, source, monkeypatch, tmp_path):
    monkeypatch.setattr("lib.networks.engines._LARGE_KERNEL", 100)
    engine = make_engine("openvino", source, tmp_path)
    image = np.random.default_rng(1).standard_normal((1, 1, 16, 16), dtype=np.float32)
    other = make_engine("openvino", source, tmp_path)  # from the cache; it takes the first one's working memory
    for each in (engine, other, engine):
        with torch.no_grad():
            expected = networks[4](torch.from_numpy(image))[0]
        # Kernels are kept in half precision.
        assert torch.allclose(each.run(image, (0, 4)).logits[1], expected, atol=5e-3)


def test_a_cache_that_cannot_be_written_costs_the_cache_only(networks, source, tmp_path):
    (tmp_path / "file").touch()
    image = np.random.default_rng(2).normal(size=(1, 1, 12, 16)).astype(np.float32)
    made = make_engine("openvino", source, cache=tmp_path / "file" / "cache").run(image, [2])
    with torch.no_grad():
        expected = networks[2](torch.from_numpy(image)).numpy()
    assert np.abs(made.logits.numpy() - expected).max() < 1e-4


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.coarse = build()[:3], build()[3:6]

    def forward(self, x):
        fine = self.fine(x)
        return [fine, self.coarse(fine)]


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = build()[6]

    def forward(self, skips):
        return self.up(skips[-1])


class Encoded(nn.Module):
    """Made as nnU-Net's networks are: an encoder that gives a list, and a decoder that takes it."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, x):
        return self.decoder(self.encoder(x))


@pytest.mark.parametrize("name", ["torch", "together", "openvino"])
def test_the_bottleneck_of_the_first_fold_comes_with_the_logits(name):
    torch.manual_seed(0)
    networks = {fold: Encoded().eval() for fold in (0, 1)}
    weights = {fold: network.state_dict for fold, network in networks.items()}
    source = Source(build=Encoded, weights=weights, digests={}, channels=1, stride=(2, 2))
    engine = TorchEngine(source, "cpu", together=True) if name == "together" else make_engine(name, source)
    image = np.random.default_rng(1).standard_normal((1, 1, 16, 24), dtype=np.float32)
    for folds in ((0, 1), (1,), (1, 0)):
        given = engine.run(image, folds)
        with torch.no_grad():
            skips = networks[folds[0]].encoder(torch.from_numpy(image))
            expected = [networks[fold](torch.from_numpy(image))[0] for fold in folds]
        assert np.allclose(given.bottleneck, skips[-1][0].numpy(), atol=1e-3)
        assert torch.allclose(given.logits, torch.stack(expected), atol=1e-3)


def test_what_this_machine_has_not_is_refused(source):
    with pytest.raises(Refusal, match="no engine 'tpu'; there are auto, cuda, openvino"):
        make_engine("tpu", source)
    if not torch.cuda.is_available():
        with pytest.raises(Refusal, match="no CUDA GPU"):
            make_engine("cuda", source)
    if not has_bfloat16():
        with pytest.raises(Refusal, match="no bfloat16"):
            make_engine("openvino-bf16", source)
