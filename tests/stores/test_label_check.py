"""What a submitted label may be, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lib.images.itk import image_like
from lib.refusals import Refusal

NAMES = ["psoas", "paraspinal", "abdominal_wall"]


def stored(store, image_id, task):
    return np.asanyarray(nib.load(store.current_label(image_id, task)).dataobj)


class TestNamesDecide:
    def test_ids_of_the_schema_are_stored_whatever_the_client_numbered(self, store, muscles, write_label):
        theirs = np.array([0, 30, 7, 12], np.uint8)[muscles]
        info = [{"name": "abdominal_wall", "idx": 12}, {"name": "psoas", "idx": 30}, {"name": "paraspinal", "id": 7}]
        store.save_label("ann", str(write_label(theirs)), "final", {"label_info": info})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_empty_segments_are_ignored_also_unknown_ones(self, store, muscles, save):
        save("ann", muscles, [*NAMES, "femur", "liver", "background"])
        assert {r.task for r in store.revisions("ann")} == {"l3_muscle"}

    def test_a_name_with_voxels_that_no_schema_knows_is_refused_with_those_it_could_be(self, store, muscles, save):
        with pytest.raises(Refusal, match=r"liver.*psoas.*sartorius") as refused:
            save("ann", muscles, ["psoas", "paraspinal", "liver"])
        assert refused.value.status_code == 422
        assert store.revisions("ann") == []

    def test_a_value_with_voxels_needs_a_name(self, store, muscles, save):
        with pytest.raises(Refusal, match="value 3"):
            save("ann", muscles, ["psoas", "paraspinal"])

    def test_one_value_cannot_have_two_names(self, store, muscles, write_label):
        info = [{"name": "psoas", "idx": 1}, {"name": "paraspinal", "idx": 1}]
        with pytest.raises(Refusal, match="named twice"):
            store.save_label("ann", str(write_label((muscles == 1).astype(np.uint8))), "final", {"label_info": info})

    def test_names_of_the_servers_own_answers(self, store, muscles, write_label):
        flipped = np.array([0, 3, 2, 1], np.uint8)[muscles]
        params = {"label_names": {"background": 0, "psoas": 3, "paraspinal": 2, "abdominal_wall": 1}}
        info = {"model": "l3_muscle", "params": {**params, "model_version": "v7", "area": float("nan")}}
        store.save_label("ann", str(write_label(flipped)), "original", info)
        (revision,) = store.revisions("ann")
        assert np.array_equal(np.asanyarray(nib.load(revision.path).dataobj), muscles)
        assert (revision.tag, revision.model, revision.model_version) == ("original", "l3_muscle", "v7")
        assert store.status()["completed"] == 0

    @pytest.mark.parametrize("key", ["model", "task"])
    def test_without_names_the_schema_of_model_or_task_gives_them(self, store, muscles, write_label, key):
        store.save_label("ann", str(write_label(muscles)), "", {key: "l3_muscle"})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_with_nothing_to_go_by_it_says_what_to_send(self, store, muscles, write_label):
        with pytest.raises(Refusal, match="label_info"):
            store.save_label("ann", str(write_label(muscles)), "final", {"model": "deepedit"})

    def test_label_info_of_another_shape_is_refused(self, store, muscles, write_label):
        for wrong in ("psoas", [1, 2], [{"idx": 1}], [{"name": "psoas", "idx": None}]):
            with pytest.raises(Refusal, match="label_info"):
                store.save_label("ann", str(write_label(muscles)), "final", {"label_info": wrong})


class TestSplitByTask:
    def test_each_task_gets_its_own_revision_and_the_other_stays(self, store, muscles, save):
        save("ann", muscles)
        femur = np.zeros_like(muscles)
        femur[2:6, 2:6, 6] = 1
        save("ann", femur, ["femur"])
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)
        assert np.array_equal(stored(store, "ann", "thigh_muscles") == 28, femur == 1)
        assert [(r.task, r.number) for r in store.revisions("ann")] == [("l3_muscle", 1), ("thigh_muscles", 1)]

    def test_the_whole_pipelines_label_becomes_muscle_and_tissue(self, store, muscles, save):
        muscles[1:3, 2:18, 3] = 4
        muscles[21:23, 2:18, 3] = 5
        save("ann", muscles, [*NAMES, "visceral_fat", "l3_subcutaneous_fat"])
        assert np.array_equal(stored(store, "ann", "l3_muscle"), np.where(muscles < 4, muscles, 0))
        expected = np.array([0, 1, 1, 1, 2, 3], np.uint8)[muscles]
        assert np.array_equal(stored(store, "ann", "l3_tissue"), expected)
        assert all(not r.partial for r in store.revisions("ann"))

    def test_a_guide_is_left_out_with_a_warning(self, store, muscles, save):
        bones = np.zeros_like(muscles)
        bones[2:6, 2:6, 6] = 1
        bones[8:12, 2:6, 6] = 2
        save("ann", bones, ["femur", "muscle_compartment"])
        revision = store.revisions("ann")[0]
        assert np.array_equal(stored(store, "ann", "thigh_muscles"), np.where(bones == 1, 28, 0))
        assert revision.names == ("femur",)
        assert any("muscle_compartment was left out" in warning for warning in revision.warnings)

    def test_an_answer_of_the_cold_start_sent_back_as_it_came_is_taken(self, store, muscles, write_label):
        answer = np.zeros_like(muscles)
        answer[2:6, 2:6, 6] = 28
        answer[8:12, 2:6, 6] = 30
        store.save_label("ann", str(write_label(answer)), "final", {"model": "thigh_muscles"})
        assert np.array_equal(stored(store, "ann", "thigh_muscles"), np.where(answer == 28, 28, 0))

    def test_a_guide_alone_is_nothing_to_store(self, store, muscles, save):
        with pytest.raises(Refusal, match="nothing but muscle_compartment"):
            save("ann", (muscles > 0).astype(np.uint8), ["muscle_compartment"])

    def test_two_groups_alone_make_no_skeletal_muscle(self, store, muscles, save):
        muscles[muscles == 3] = 0
        muscles[1:3, 2:18, 3] = 4
        save("ann", muscles, [*NAMES, "visceral_fat"])
        assert store.revisions("ann", "l3_tissue")[0].names == ("visceral_fat",)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("psoas", "skeletal_muscle"),
            ("bone", "vertebra_L3"),
            ("abdominal_visceral_fat", "visceral_fat"),
            ("psoas_major", "psoas"),
            ("muscle", "gracilis"),
        ],
    )
    def test_structures_that_cover_each_other_are_refused_by_name(self, store, muscles, save, one, other):
        muscles[muscles == 3] = 0
        with pytest.raises(Refusal, match="cover each other") as refused:
            save("ann", muscles, [one, other])
        assert one in str(refused.value)
        assert other in str(refused.value)
        assert store.revisions("ann") == []

    def test_partial_until_every_structure_is_drawn_or_said_not_to_be_there(self, store, muscles, save):
        only_two = np.where(muscles == 3, 0, muscles).astype(np.uint8)
        save("ann", only_two)
        save("ben", only_two, complete=True)
        save("cat", muscles)
        assert [store.revisions(i)[0].partial for i in ("ann", "ben", "cat")] == [True, False, False]
        assert store.get_label_info("ann", "final")["names"] == ["psoas", "paraspinal"]


class TestBrushSpill:
    def test_a_grazed_neighbour_is_dropped_with_a_warning(self, store, muscles, save):
        spilled = muscles.copy()
        spilled[4, 4, 4] = 1
        save("ann", spilled)
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)
        assert "Slice 4" in store.get_label_info("ann", "final")["warnings"][0]

    def test_another_drawn_slice_is_kept(self, store, muscles, save):
        muscles[:, :, 6] = muscles[:, :, 3]
        save("ann", muscles)
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_it_counts_along_the_body_whichever_axis_that_is(  # noqa: PLR0917 - fixtures
        self, store, studies, write_ct, muscles, save, affine
    ):
        turned = np.ascontiguousarray(muscles.transpose(2, 0, 1))
        turned[5, 4, 4] = 2
        affine = affine[:, [2, 0, 1, 3]]
        write_ct(studies / "turned.nii.gz", shape=turned.shape, affine=affine)
        save("turned", turned, affine=affine)
        label = stored(store, "turned", "l3_muscle")
        assert list(np.flatnonzero(label.any(axis=(1, 2)))) == [3]

    def test_volumes_are_left_alone(self, store, muscles, save):
        thigh = (muscles > 0).astype(np.uint8)
        thigh[4, 4, 4] = 1
        save("ann", thigh, ["gracilis"])
        assert np.count_nonzero(stored(store, "ann", "thigh_muscles")) == np.count_nonzero(thigh)


class TestGeometry:
    def test_the_stored_file_has_the_images_affine_and_shape(self, store, studies, muscles, save, affine):
        drift = affine.copy()
        drift[:3, 3] += 1e-4
        save("ann", muscles, affine=drift)
        label = nib.load(store.current_label("ann", "l3_muscle"))
        assert np.allclose(label.affine, nib.load(studies / "ann.nii.gz").affine, atol=1e-6)
        assert label.get_data_dtype() == np.uint8

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
    @pytest.mark.parametrize("flips", [(1, 1, -1), (-1, 1, -1), (-1, -1, -1)])
    def test_flipped_and_swapped_axes_are_put_back(  # noqa: PLR0917 - fixtures
        self, store, muscles, save, affine, order, flips
    ):
        ornt = np.column_stack([order, flips])
        moved = nib.orientations.apply_orientation(muscles, ornt)
        moved_affine = affine @ nib.orientations.inv_ornt_aff(ornt, muscles.shape)
        save("ann", np.ascontiguousarray(moved), affine=moved_affine)
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_another_shape_is_refused(self, store, muscles, save):
        with pytest.raises(Refusal, match=r"shape \(24, 20, 7\)"):
            save("ann", muscles[:, :, :7])

    @pytest.mark.parametrize("shift_mm", [0.5, 5.0, 300.0])
    def test_another_place_is_refused(self, store, muscles, save, affine, shift_mm):
        affine[2, 3] += shift_mm
        with pytest.raises(Refusal, match="elsewhere"):
            save("ann", muscles, affine=affine)

    def test_a_rotated_label_is_refused(self, store, muscles, save):
        with pytest.raises(Refusal, match="elsewhere"):
            save("ann", muscles, affine=np.diag([-0.8, 0.9, -5.0, 1.0]))

    @pytest.mark.parametrize("image_shape", [(24, 20), (24, 20, 1)])
    @pytest.mark.parametrize("label_shape", [(24, 20), (24, 20, 1)])
    def test_a_2d_image_takes_both_forms_and_keeps_its_own(  # noqa: PLR0917 - fixtures
        self, store, studies, write_ct, muscles, save, image_shape, label_shape
    ):
        write_ct(studies / "flat.nii.gz", shape=image_shape)
        save("flat", muscles[:, :, 3].reshape(label_shape))
        label = stored(store, "flat", "l3_muscle")
        assert label.shape == image_shape
        assert np.array_equal(label.reshape(24, 20), muscles[:, :, 3])


class TestSegNrrd:
    @staticmethod
    def write(path: Path, array, affine, segments, layers=1):
        image = image_like(array[..., 0], affine)
        if layers > 1:
            image = sitk.Compose([image_like(np.ascontiguousarray(array[..., n]), affine) for n in range(layers)])
        for number, (name, layer, value) in enumerate(segments):
            image.SetMetaData(f"Segment{number}_Name", name)
            image.SetMetaData(f"Segment{number}_Layer", str(layer))
            image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        sitk.WriteImage(image, str(path), True)
        return str(path)

    def test_its_own_names_decide_and_a_cropped_one_is_put_in_place(self, store, muscles, affine, tmp_path):
        cropped = muscles[3:22, 2:17, 2:5]
        moved = affine.copy()
        moved[:3, 3] = (affine @ [3, 2, 2, 1])[:3]
        segments = [("abdominal_wall", 0, 3), ("paraspinal", 0, 2), ("psoas", 0, 1), ("liver", 0, 9)]
        path = self.write(tmp_path / "x.seg.nrrd", cropped[..., None], moved, segments)
        store.save_label("ann", path, "final", {"label_info": [{"name": "femur", "idx": 1}]})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_layers_keep_structures_that_cover_each_other_apart(self, store, muscles, affine, tmp_path):
        layered = np.stack([muscles, (muscles > 0).astype(np.uint8)], axis=-1)
        segments = [(name, 0, value) for value, name in enumerate(NAMES, start=1)] + [("skeletal_muscle", 1, 1)]
        path = self.write(tmp_path / "x.seg.nrrd", layered, affine, segments, layers=2)
        store.save_label("ann", path, "final", {})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)
        assert np.array_equal(stored(store, "ann", "l3_tissue"), muscles > 0)

    def test_a_finer_one_is_resampled_by_nearest_neighbour(self, store, muscles, affine, tmp_path):
        fine = np.repeat(np.repeat(muscles, 2, axis=0), 2, axis=1)
        fine_affine = affine @ np.diag([0.5, 0.5, 1, 1])
        fine_affine[:3, 3] = (affine @ [-0.25, -0.25, 0, 1])[:3]
        segments = [(name, 0, value) for value, name in enumerate(NAMES, start=1)]
        path = self.write(tmp_path / "x.seg.nrrd", fine[..., None], fine_affine, segments)
        store.save_label("ann", path, "final", {})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_a_plain_nrrd_is_read_like_a_nifti(self, store, muscles, affine, tmp_path):
        sitk.WriteImage(image_like(muscles, affine), str(tmp_path / "x.nrrd"))
        store.save_label("ann", str(tmp_path / "x.nrrd"), "final", {"task": "l3_muscle"})
        assert np.array_equal(stored(store, "ann", "l3_muscle"), muscles)

    def test_one_outside_the_image_is_empty(self, store, muscles, affine, tmp_path):
        affine[:3, 3] += 900
        path = self.write(tmp_path / "x.seg.nrrd", muscles[..., None], affine, [("psoas", 0, 1)])
        with pytest.raises(Refusal, match="outside"):
            store.save_label("ann", path, "final", {})


class TestBadLabels:
    """Each gets a 422 with a sentence, and nothing is stored."""

    @pytest.fixture(autouse=True)
    def _nothing_is_stored(self, store):
        yield
        assert store.revisions("ann") == []
        assert store.status()["completed"] == 0
        assert list((Path(store.get_image_uri("ann")).parent / "sarcopenia" / "labels").rglob("*.nii.gz")) == []

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda a: a.astype(np.float32) * 0.5, "fractional"),
            (lambda a: -a.astype(np.int16), "negative"),
            (lambda a: np.where(a == 1, np.nan, a).astype(np.float32), "NaN"),
            (np.zeros_like, "empty"),
            (lambda a: a.astype(np.int32) * 100_000, "no segment number"),
            (lambda a: a.astype(np.complex64), "whole numbers"),
            (lambda a: np.stack([a, a], axis=-1), "shape"),
        ],
    )
    def test_voxels_that_are_no_label(self, muscles, save, change, sentence):
        with pytest.raises(Refusal, match=sentence) as refused:
            save("ann", change(muscles))
        assert refused.value.status_code == 422

    @pytest.mark.parametrize("content", [b"", b"ten bytes!", b"\x1f\x8b\x08\x00 cut"])
    @pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".txt", ""])
    def test_files_that_are_no_image(self, store, tmp_path, content, suffix):
        path = tmp_path / f"tmpk2j3h4{suffix}"
        path.write_bytes(content)
        with pytest.raises(Refusal) as refused:
            store.save_label("ann", str(path), "final", {"model": "l3_muscle"})
        assert refused.value.status_code == 422
        assert "tmpk2j3h4" not in str(refused.value)

    def test_truncated_gzip(self, store, tmp_path, muscles, write_label):
        whole = write_label(np.random.default_rng(0).integers(0, 4, muscles.shape).astype(np.uint8)).read_bytes()
        path = tmp_path / "cut.nii.gz"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(Refusal, match="cut short"):
            store.save_label("ann", str(path), "final", {"model": "l3_muscle"})

    _NO_TAGS = ("../../x", "a/b", "a\\b", "/etc", "C:x", ".hidden", "a\nb", "l3_muscle", "x@2", "Final", "final ")

    @pytest.mark.parametrize("tag", _NO_TAGS)
    def test_tags_that_are_paths_or_taken(self, store, muscles, save, tag):
        with pytest.raises(Refusal, match="tag"):
            save("ann", muscles, tag=tag)

    @pytest.mark.parametrize("image_id", ["../x", "a/b", "a\\b", "/etc/passwd", "", ".hidden", "a\x00b"])
    def test_ids_that_are_paths(self, store, muscles, save, image_id):
        with pytest.raises(Refusal) as refused:
            save(image_id, muscles)
        assert refused.value.status_code == 422

    def test_an_unknown_image(self, store, muscles, save):
        with pytest.raises(Refusal, match="no image zoe") as refused:
            save("zoe", muscles)
        assert refused.value.status_code == 404

    def test_info_that_is_no_object(self, store, muscles, write_label):
        with pytest.raises(Refusal, match="object"):
            store.save_label("ann", str(write_label(muscles)), "final", ["psoas"])


def test_a_muscle_of_one_leg_only_is_said_where_the_label_is_saved(store, studies, write_ct, write_label):
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    write_ct(studies / "legs.nii.gz", shape=(60, 30, 8), affine=affine)
    label = np.zeros((60, 30, 8), np.uint8)
    names = ["femur", "rectus_femoris", "vastus_lateralis", "biceps_femoris", "gracilis"]
    for middle, outwards in ((15, -1), (45, 1)):
        for value, (aside, ahead) in enumerate([(0, 15), (0, 22), (6, 15), (4, 7)], start=1):
            label[middle + outwards * aside :, ahead:][:3, :3] = value
    label[24:27, 12:15] = 5
    info = {"label_info": [{"name": name, "idx": n} for n, name in enumerate(names, start=1)]}
    store.save_label("legs", str(write_label(label, affine=affine)), "final", info)
    (revision,) = store.revisions("legs")
    assert len(revision.warnings) == 1
    assert revision.warnings[0].startswith("gracilis is drawn on the left side only")
