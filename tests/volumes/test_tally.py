"""What is counted slice by slice is what the whole gives at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.measures.disagreement import disagreement
from lib.volumes.tally import Tally

CLASSES = {"fat": 1, "muscle": 2, "bone": 4}


@pytest.mark.parametrize("folds", [1, 3])
def test_counted_in_pieces_it_is_the_disagreement_of_the_whole(folds):
    rng = np.random.default_rng(folds)
    logits = torch.from_numpy(rng.normal(0, 3, (folds, 5, 40, 6)).astype(np.float32))
    hu = rng.integers(-200, 400, (40, 6)).astype(np.int16)
    body = np.ones(hu.shape, bool)
    wanted = disagreement(logits.softmax(dim=1).numpy(), hu, (2.0, 3.0), CLASSES, body)
    tally, doubt = Tally(CLASSES, folds), np.zeros(hu.shape, np.uint8)
    for k in range(hu.shape[1]):
        doubt[:, k] = tally.add(logits[..., k].log_softmax(dim=1), hu[:, k])
    found = tally.disagreement(doubt, 2.0 * 3.0 / 100)
    assert found.score == pytest.approx(wanted.score, abs=1e-5)
    assert found.predictive_entropy == pytest.approx(wanted.predictive_entropy, abs=1e-5)
    assert found.mutual_information == pytest.approx(wanted.mutual_information, abs=1e-5)
    assert np.abs(doubt - 100 * wanted.map).max() <= 0.51
    for name, of_class in wanted.classes.items():
        assert found.classes[name].dice == (None if folds == 1 else pytest.approx(of_class.dice))
        assert found.classes[name].size.mean == pytest.approx(of_class.size.mean)
        assert found.classes[name].attenuation_hu.largest == pytest.approx(of_class.attenuation_hu.largest)
