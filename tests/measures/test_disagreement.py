import numpy as np
import pytest

from lib.measures.disagreement import disagreement

CLASSES = {"psoas": 1, "paraspinal": 2}
SPACING = (0.5, 2.0)
HU = np.add.outer(np.arange(20), np.zeros(20, dtype=int)) * 10


def probabilities(*labels, sure=1.0):
    """What folds give that are this sure of these labels; the rest is spread over the other classes."""
    outputs = len(CLASSES) + 1
    one_hot = np.moveaxis(np.eye(outputs)[np.stack(labels)], -1, 1)
    return (one_hot * (sure - (1 - sure) / (outputs - 1)) + (1 - sure) / (outputs - 1)).astype(np.float32)


def label(psoas=slice(0, 0), paraspinal=slice(0, 0)):
    values = np.zeros((20, 20), dtype=int)
    values[psoas, :10], values[paraspinal, 10:] = 1, 2
    return values


def compare(*labels, sure=1.0, body=None):
    body = np.ones(HU.shape, dtype=bool) if body is None else body
    return disagreement(probabilities(*labels, sure=sure), HU, SPACING, CLASSES, body)


def test_folds_that_agree_leave_no_doubt():
    same = label(slice(2, 8), slice(2, 12))
    found = compare(same, same, same)
    assert found.score == pytest.approx(0)
    assert found.mutual_information == pytest.approx(0, abs=1e-6)
    assert not found.map.any()
    psoas = found.classes["psoas"]
    assert psoas.dice == pytest.approx(1)
    assert (psoas.size.mean, psoas.size.sd) == pytest.approx((0.6, 0))  # 60 pixels of 1 mm²
    assert psoas.attenuation_hu.mean == pytest.approx(np.mean([20, 30, 40, 50, 60, 70]))


def test_every_figure_of_folds_that_differ_is_the_one_by_hand():
    found = compare(label(slice(0, 4)), label(slice(0, 8)), label(slice(4, 8)))
    psoas = found.classes["psoas"]
    assert psoas.dice == pytest.approx((2 * 4 / 12 + 0 + 2 * 4 / 12) / 3)
    assert found.score == pytest.approx(1 - psoas.dice)  # nobody has the other class: nothing to disagree on
    assert found.classes["paraspinal"].dice is None
    assert found.classes["paraspinal"].attenuation_hu is None
    assert (psoas.size.smallest, psoas.size.largest) == pytest.approx((0.4, 0.8))
    assert psoas.size.sd == pytest.approx(np.std([0.4, 0.8, 0.4], ddof=1))
    assert (psoas.attenuation_hu.smallest, psoas.attenuation_hu.largest) == pytest.approx((15, 55))
    assert found.to_json()["classes"]["psoas"]["mean_hu"]["range"] == [15.0, 55.0]


def test_score_and_map_grow_with_disagreement():
    reference = label(slice(2, 12), slice(2, 12))
    scores = []
    for shift in range(5):
        found = compare(reference, reference, label(slice(2 + shift, 12 + shift), slice(2, 12)))
        scores.append(found.score)
        assert 0 <= found.map.min() <= found.map.max() <= 1
        assert (found.map > 0).sum() == 2 * shift * 10  # exactly where one fold differs from the others
    assert scores == sorted(scores)
    assert 0 <= scores[0] < scores[-1] <= 1


def test_a_class_that_only_some_folds_find_counts_as_disagreement():
    found = compare(label(slice(0, 4), slice(0, 4)), label(slice(0, 4)))
    assert found.classes["paraspinal"].dice == 0
    assert found.classes["paraspinal"].size.smallest == 0
    assert found.classes["paraspinal"].attenuation_hu.sd is None  # one fold only has HU to give
    assert found.score == pytest.approx(0.5)


def test_one_fold_is_judged_by_its_own_doubt():
    values = label(slice(0, 6), slice(0, 6))
    scores = [compare(values, sure=sure).score for sure in (1.0, 0.99, 0.8, 0.5)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(0, abs=1e-6)
    assert scores[-1] <= 1
    found = compare(values, sure=0.8)
    assert found.mutual_information == pytest.approx(0, abs=1e-6)
    assert found.map.max() == pytest.approx(found.predictive_entropy, abs=1e-5)
    assert found.classes["psoas"].dice is None
    assert found.to_json()["classes"]["psoas"]["area_cm2"]["sd"] is None


def test_entropy_is_taken_over_the_body_only():
    body = np.zeros(HU.shape, dtype=bool)
    body[:10] = True
    inside = compare(label(slice(0, 10)), label(slice(0, 10)), body=body)
    outside = compare(label(slice(0, 10)), label(slice(0, 16)), body=body)
    assert outside.mutual_information == pytest.approx(inside.mutual_information)
    assert not outside.map.any()
    assert compare(label(), label(), body=np.zeros_like(body)).predictive_entropy == 0


def test_a_slice_on_which_nothing_is_found_comes_first():
    assert compare(label(), label()).score == 1
    assert compare(label()).score == 1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        disagreement(probabilities(label()), HU[:5], SPACING, CLASSES, np.ones((20, 20), dtype=bool))
