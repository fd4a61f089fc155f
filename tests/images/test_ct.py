"""A CT keeps its geometry whatever way it is stored."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from lib.images import CTImage, PatientFacts
from lib.refusals import Refusal


def rotation(degrees: float, axis: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    i, j = (a for a in range(3) if a != axis)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def oblique_image(shape=(4, 5, 6)) -> CTImage:
    affine = np.eye(4)
    affine[:3, :3] = rotation(12, 0) @ rotation(-8, 1) @ np.diag([0.7, 0.9, 5.0])
    affine[:3, 3] = (-40, 12, 300)
    return CTImage(hu=np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine=affine)


def stored_as(image: CTImage, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> CTImage:
    """The same image, its array permuted and flipped, its affine changed accordingly."""
    ornt = np.array([[order.index(axis), -1 if flips[axis] else 1] for axis in range(3)])
    nifti = nib.Nifti1Image(image.hu, image.affine).as_reoriented(ornt)
    return CTImage(hu=np.asarray(nifti.dataobj), affine=nifti.affine)


ALL_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product([False, True], repeat=3)))


class TestCanonical:
    @pytest.mark.parametrize(("order", "flips"), ALL_ORDERS)
    def test_every_storage_order_gives_the_same_voxels_at_the_same_place(self, order, flips):
        image = oblique_image()
        other = stored_as(image, order, flips)
        assert other.canonical().axis_codes == ("R", "A", "S")
        assert np.array_equal(other.canonical().hu, image.hu)
        assert np.allclose(other.canonical().affine, image.affine)

    @pytest.mark.parametrize(("order", "flips"), ALL_ORDERS)
    def test_what_is_drawn_in_canonical_order_comes_back_into_the_file_order(self, order, flips):
        other = stored_as(oblique_image(), order, flips)
        assert np.array_equal(other.from_canonical(other.canonical().hu), other.hu)

    @pytest.mark.parametrize(("order", "flips"), ALL_ORDERS)
    def test_a_slice_number_points_at_the_same_voxels_in_both_orders(self, order, flips):
        other = stored_as(oblique_image(), order, flips)
        own = other.slice_from_canonical(1)
        expected = set(other.canonical().hu[:, :, 1].ravel().tolist())
        assert set(other.hu.take(own, other.foot_to_head_axis).ravel().tolist()) == expected


class TestSizes:
    def test_voxel_volume_and_slice_area_follow_the_oblique_spacing(self):
        image = oblique_image()
        assert image.spacing == pytest.approx([0.7, 0.9, 5.0])
        assert image.voxel_cm3 == pytest.approx(0.7 * 0.9 * 5.0 / 1000)
        assert image.slice_area_cm2() == pytest.approx(0.7 * 0.9 / 100)

    def test_slice_area_takes_the_plane_across_the_body_not_the_last_axis(self):
        image = stored_as(oblique_image(), (2, 0, 1), (True, False, True))
        assert image.slice_area_cm2() == pytest.approx(0.7 * 0.9 / 100)


class TestRefusals:
    @pytest.mark.parametrize(
        "affine", [np.diag([1.0, 1.0, 0.0, 1.0]), np.full((4, 4), np.nan), np.eye(3)], ids=["flat", "nan", "3x3"]
    )
    def test_an_affine_that_is_none_is_refused(self, affine):
        with pytest.raises(Refusal, match="affine"):
            CTImage(hu=np.zeros((2, 2, 2), np.int16), affine=affine)


def test_newer_facts_override_older_ones_but_the_unknown_overrides_nothing():
    dicom = PatientFacts(sex="F", height_m=1.60)
    assert dicom.updated(PatientFacts(height_m=1.62)) == PatientFacts(sex="F", height_m=1.62)


def test_what_is_a_phantom_stays_one_whatever_is_entered():
    assert PatientFacts(phantom=True).updated(PatientFacts(phantom=False, sex="F")) == PatientFacts(
        phantom=True, sex="F"
    )
