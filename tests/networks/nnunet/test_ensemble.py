import json
import threading

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from lib.networks.nnunet.ensemble import Ensemble, label_of
from lib.refusals import Refusal
from scripts.benchmarks.l3_ensemble import write_untrained

FEATURES = (8, 16, 16)
PATCH = (64, 48)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("model"), patch=PATCH, spacing_mm=2.0, features=FEATURES, folds=2)


@pytest.fixture(scope="module")
def ensemble(model):
    return Ensemble(model, engine="torch")


def slice_of(shape, seed=0):
    """Blobs of soft tissue within air: smooth, as a CT is."""
    x, y = np.meshgrid(*(np.linspace(0, 6, size) for size in shape), indexing="ij")
    hu = 80 * np.sin(x + seed) * np.cos(1.7 * y) + 20 * np.sin(3 * x * y / 6)
    hu[: shape[0] // 8] = -1000
    return np.rint(hu).astype(np.int16)


def nnunet(model, hu, spacing, folds, *, mirroring=False):
    """Probabilities of nnU-Net's own predictor, ``(1 + classes, x, y)``; it averages the folds' logits."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=mirroring, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds)
    properties = {"spacing": [5.0, spacing[1], spacing[0]]}
    image = hu.T[None, None].astype(np.float32)
    _, probabilities = predictor.predict_single_npy_array(image, properties, None, None, True)
    return probabilities[:, 0].swapaxes(1, 2)


@pytest.mark.parametrize(
    ("shape", "spacing", "mirroring"),
    [
        ((60, 50), (1.5, 1.3), False),  # smaller than the patch
        ((60, 50), (1.5, 1.3), True),
        ((90, 110), (2.0, 1.7), False),  # larger in both axes: windows
        ((96, 128), (2.0, 2.0), False),  # nothing is resampled
    ],
)
def test_every_fold_answers_as_nnunet_does(model, ensemble, shape, spacing, mirroring):
    hu = slice_of(shape)
    ours = ensemble.predict(hu, spacing, mirroring=mirroring)
    assert ours.shape == (2, 4, *shape)
    assert ours.sum(axis=1) == pytest.approx(1, abs=1e-5)
    for fold in (0, 1):
        # nnU-Net adds up windows in half precision.
        assert np.abs(ours[fold] - nnunet(model, hu, spacing, (fold,), mirroring=mirroring)).max() < 0.01


def test_mean_of_logits_is_nnunets_ensemble(model, ensemble):
    hu = slice_of((90, 70))
    logarithms = np.log(ensemble.predict(hu, (2.0, 2.0))).mean(axis=0)
    theirs = nnunet(model, hu, (2.0, 2.0), (0, 1)).argmax(axis=0)
    assert (logarithms.argmax(axis=0) == theirs).mean() > 0.995


def test_a_margin_of_zeros_is_cropped_as_nnunet_does_it(model, ensemble):
    hu = np.pad(slice_of((60, 50)), ((7, 3), (0, 12)))
    ours = ensemble.predict(hu, (2.0, 2.0), folds=[1])
    assert np.abs(ours[0] - nnunet(model, hu, (2.0, 2.0), (1,))).max() < 0.01
    assert (label_of(ours)[:7] == 0).all()


def test_folds_are_chosen_and_only_those_that_are_there(ensemble):
    hu = slice_of((60, 50))
    both = ensemble.predict(hu, (2.0, 2.0))
    assert np.allclose(ensemble.predict(hu, (2.0, 2.0), folds=[1])[0], both[1], atol=1e-6)
    with pytest.raises(Refusal, match="no fold 3; it has 0, 1"):
        ensemble.predict(hu, (2.0, 2.0), folds=[3])


def test_padding_to_the_stride_keeps_the_geometry(model):
    ensemble = Ensemble(model, engine="torch", padding="stride")
    for shape in ((40, 30), (4, 4), (130, 20)):
        assert ensemble.predict(slice_of(shape) + 1, (2.0, 2.0)).shape == (2, 4, *shape)


def test_openvino_gives_what_pytorch_gives_with_and_without_its_cache(model, ensemble, tmp_path):
    hu = slice_of((60, 110))
    expected = ensemble.predict(hu, (2.0, 2.0))
    for _ in range(2):
        fast = Ensemble(model, engine="openvino", cache=tmp_path)
        assert np.abs(fast.predict(hu, (2.0, 2.0)) - expected).max() < 1e-3
    assert np.abs(fast.predict(hu, (2.0, 2.0), folds=[1])[0] - expected[1]).max() < 1e-3
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    repaired = Ensemble(model, engine="openvino", cache=tmp_path)
    assert np.abs(repaired.predict(hu, (2.0, 2.0)) - expected).max() < 1e-3


def test_requests_at_once_get_their_own_answers(model):
    ensemble = Ensemble(model, engine="openvino")
    slices = [slice_of(shape, seed) for seed, shape in enumerate([(60, 50), (90, 70), (50, 64), (40, 120)])]
    expected = [ensemble.predict(hu, (2.0, 2.0)) for hu in slices]
    answers = [None] * len(slices)

    def ask(index):
        answers[index] = ensemble.predict(slices[index], (2.0, 2.0))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(slices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer, right in zip(answers, expected, strict=True):
        assert np.allclose(answer, right, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_corrupt_checkpoint_is_one_plain_sentence(tmp_path, content):
    folder = write_untrained(tmp_path / "v0001", patch=PATCH, features=FEATURES, folds=2)
    path = folder / "fold_1" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(Refusal, match=r"fold_1/checkpoint_final\.pth of the model in v0001 is damaged"):
        Ensemble(folder, engine="torch")


def test_a_folder_that_is_no_usable_model_is_refused(tmp_path):
    folder = write_untrained(tmp_path / "v0001", patch=PATCH, features=FEATURES, folds=1)
    plans = json.loads((folder / "plans.json").read_text())
    wider = json.loads(json.dumps(plans))
    wider["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 16, 32]
    (folder / "plans.json").write_text(json.dumps(wider))
    with pytest.raises(Refusal, match="weights of fold 0 do not fit"):
        Ensemble(folder, engine="torch")
    plans["configurations"]["2d"]["patch_size"] = [16, 64, 64]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(Refusal, match="2-D configuration"):
        Ensemble(folder, engine="torch")
    (folder / "plans.json").write_text("{")
    with pytest.raises(Refusal, match=r"plans\.json of the model in v0001 is damaged"):
        Ensemble(folder, engine="torch")
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    (folder / "plans.json").write_text("{}")
    with pytest.raises(Refusal, match="no fold that was trained to its end"):
        Ensemble(folder, engine="torch")


def test_an_empty_slice_is_refused(ensemble):
    with pytest.raises(Refusal, match="empty"):
        ensemble.predict(np.zeros((60, 50), dtype=np.int16), (2.0, 2.0))


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_features_tell_slices_apart(model, engine):
    ensemble = Ensemble(model, engine=engine)
    features = []
    for shape in ((60, 46), (90, 110)):  # one window, several
        hu = slice_of(shape)
        noisy = hu + np.random.default_rng(0).normal(0, 0.5, shape)
        for each in (hu, noisy, slice_of(shape, seed=2)):
            prediction = ensemble.describe(each, (2.0, 2.0))
            assert np.array_equal(prediction.probabilities, ensemble.predict(each, (2.0, 2.0)))
            features.append(prediction.features)
    for same, noisy, other in (features[:3], features[3:]):
        assert np.linalg.norm(same - noisy) < 0.3 * np.linalg.norm(same - other)
    mirrored = ensemble.describe(slice_of((60, 46)), (2.0, 2.0), mirroring=True, folds=(0, 1))
    assert np.allclose(mirrored.features, features[0], atol=1e-4)
