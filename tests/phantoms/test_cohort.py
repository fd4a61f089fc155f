"""A cohort can be served, interrupted and gone on with, and its table says what its files hold."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from lib.images import read_ct
from lib.images.dicom import ct_series
from lib.images.files import read_volume
from lib.phantoms import cohort as module
from lib.phantoms.cohort import COLUMNS, Cohort, CohortPlan, read_table, save_labels, write_case
from lib.phantoms.person import Variant
from lib.stores import CaseStore
from lib.stores.conversion import convert_series

SMALL = {"count": 1, "seed": 3, "matrix": 64, "slice_mm": 12.0, "hard_share": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same case as NIfTI and as DICOM."""
    folders = {}
    for kind in ("nifti", "dicom"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        Cohort(folders[kind], CohortPlan(format=kind, **SMALL)).write()
    return folders


@pytest.fixture
def quick(monkeypatch):
    """Cases without drawing; the numbers of those that were written."""
    written = []

    def write(folder, plan, number):
        written.append(number)
        case = plan.case(number)
        (folder / f"{case}.nii.gz").write_bytes(b"x")
        return dict.fromkeys(COLUMNS, "1") | {"case": case}

    monkeypatch.setattr(module, "write_case", write)
    return written


class TestFiles:
    def test_the_store_shows_the_cases_without_labels(self, made):
        for folder in made.values():
            store = CaseStore(folder)
            assert store.list_images() == [row["case"] for row in read_table(folder)]
            assert store.get_labeled_images() == []
            store.close()

    def test_what_a_client_downloads_of_a_dicom_series_says_so_too(self, made, tmp_path):
        convert_series(ct_series(next(made["dicom"].glob("phantom_*"))), tmp_path / "ct.nii.gz", scratch=tmp_path)
        assert read_ct(tmp_path / "ct.nii.gz").facts.phantom

    def test_both_formats_hold_the_same_voxels_and_say_that_they_are_phantoms(self, made):
        nifti, dicom = (read_ct(next(folder.glob("phantom_*"))) for folder in made.values())
        assert np.array_equal(nifti.canonical().hu, dicom.canonical().hu)
        assert np.allclose(nifti.affine, dicom.affine, atol=1e-3)
        assert nifti.facts.phantom
        assert dicom.facts.phantom
        (row,) = read_table(made["dicom"])
        facts = dicom.facts
        assert (facts.sex, facts.age_years) == (row["sex"], float(row["age_years"]))
        assert (facts.height_m, facts.weight_kg) == (float(row["height_m"]), float(row["weight_kg"]))

    def test_labels_lie_on_the_image_as_it_is_read(self, made):
        for folder in made.values():
            image = read_ct(next(folder.glob("phantom_*")))
            tasks = sorted(path.name for path in (folder / "truth").iterdir())
            assert tasks == ["body_composition", "l3_muscle", "l3_slice", "l3_tissue"]
            for task in tasks:
                array, affine, _ = read_volume(next((folder / "truth" / task).iterdir()))
                assert array.shape == image.shape
                assert np.allclose(affine, image.affine, atol=1e-3)
                assert array.any()

    def test_the_table_says_what_the_label_of_l3_holds(self, made):
        for folder in made.values():
            (row,) = read_table(folder)
            image = read_ct(next(folder.glob("phantom_*")))
            label = read_volume(next((folder / "truth" / "l3_muscle").iterdir()))[0]
            plane = label.take(int(row["l3_slice"]), image.foot_to_head_axis)
            area = (plane == 1).sum() * image.slice_area_cm2()
            assert float(row["psoas_cm2"]) == pytest.approx(area, abs=0.01)
            voxel = np.linalg.inv(image.affine) @ [*(float(row[f"l3_{axis}_mm"]) for axis in "xyz"), 1]
            assert voxel[image.foot_to_head_axis] == pytest.approx(int(row["l3_slice"]), abs=0.51)

    def test_the_labels_become_final_ones_but_not_over_somebodys_own(self, made, tmp_path):
        folder = tmp_path / "copy"
        shutil.copytree(made["dicom"], folder, ignore=shutil.ignore_patterns("sarcopenia"))
        store = CaseStore(folder)
        (case,) = store.list_images()
        label = next((folder / "truth" / "l3_slice").iterdir())
        store.save_label(case, str(label), "final", {"task": "l3_slice", "user": "ann"})
        assert save_labels(store, folder) == 3
        assert save_labels(store, folder) == 0
        authors = {revision.task: revision.author for revision in store.revisions(case)}
        assert authors == {
            "l3_slice": "ann", "l3_muscle": "phantom", "l3_tissue": "phantom", "body_composition": "phantom"
        }  # fmt: skip
        assert store.case_facts(case).phantom
        store.close()

    def test_a_left_handed_scan_becomes_a_series_with_its_labels(self, tmp_path, monkeypatch):
        plan = CohortPlan(format="dicom", **SMALL)
        plain = plan.phantom(0)
        turned = type(plain)(
            plain.seed, conditions={}, scanner=module.replace(plain.scanner, orientation="RAI"), shape=(40, 40, 12)
        )
        monkeypatch.setattr(CohortPlan, "phantom", lambda *_: turned)
        row = write_case(tmp_path, plan, 0)
        image = read_ct(tmp_path / row["case"])
        assert np.array_equal(image.canonical().hu, turned.image.canonical().hu)
        label, affine, _ = read_volume(tmp_path / "truth" / "l3_slice" / f"{row['case']}.nii.gz")
        assert np.allclose(affine, image.affine, atol=1e-3)
        flipped = turned.label("l3_slice")[:, :, ::-1]
        assert np.array_equal(label, flipped)
        assert int(row["l3_slice"]) == 11 - turned.l3_slice


class TestGoingOn:
    def test_only_what_is_missing_is_written(self, tmp_path, quick):
        Cohort(tmp_path, CohortPlan(count=2)).write()
        cohort = Cohort(tmp_path, CohortPlan(count=4))
        (tmp_path / f"{cohort.plan.case(0)}.nii.gz").unlink()
        assert cohort.missing == [0, 2, 3]
        quick.clear()
        cohort.write()
        assert quick == [0, 2, 3]
        assert [row["case"] for row in read_table(tmp_path)] == [cohort.plan.case(n) for n in range(4)]
        assert cohort.missing == []

    def test_an_interruption_keeps_what_was_finished_and_leaves_no_half_case(self, tmp_path, quick, monkeypatch):
        write = module.write_case

        def interrupted(folder, plan, number):
            if number == 2:
                (folder / f".{plan.case(2)}.part.nii.gz").write_bytes(b"half")
                (folder / "cohort.csv").open("a").write("half a li")
                raise KeyboardInterrupt
            return write(folder, plan, number)

        monkeypatch.setattr(module, "write_case", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Cohort(tmp_path, CohortPlan(count=4)).write()
        assert len(read_table(tmp_path)) == 2
        monkeypatch.setattr(module, "write_case", write)
        cohort = Cohort(tmp_path, CohortPlan(count=4))
        assert cohort.missing == [2, 3]
        cohort.write()
        assert len(read_table(tmp_path)) == 4
        assert not list(tmp_path.glob(".*part*"))

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            ({"seed": 2}, r"with seed 0 \(not 2\)"),
            ({"region": "torso"}, r"with region abdomen \(not torso\)"),
            ({"conditions": {"metal": 1.0}}, "with conditions None"),
            ({"count": 1}, "2 cases already, more than 1"),
        ],
    )
    def test_another_cohort_in_the_same_folder_is_refused(self, tmp_path, quick, other, reason):
        Cohort(tmp_path, CohortPlan(count=2)).write()
        with pytest.raises(ValueError, match=reason):
            Cohort(tmp_path, CohortPlan(**{"count": 2, **other}))

    def test_two_at_once_are_refused(self, tmp_path, quick):
        cohort = Cohort(tmp_path, CohortPlan(count=2))
        with pytest.raises(ValueError, match="Another process is writing"):
            cohort.write(on_case=lambda _: Cohort(tmp_path, CohortPlan(count=2)).write())


class TestPlans:
    def test_a_patient_is_the_same_in_every_region_and_cohorts_share_nobody(self):
        first, thigh, other = CohortPlan(seed=1), CohortPlan(seed=1, region="thigh"), CohortPlan(seed=2)
        assert first.seed_of(0) == thigh.seed_of(0)
        assert not {first.seed_of(n) for n in range(100)} & {other.seed_of(n) for n in range(100)}

    def test_conditions_can_be_given_or_left_to_chance(self):
        assert CohortPlan(conditions={"ascites": 0.8}).phantom(0)._wanted.conditions == {"ascites": 0.8}
        usual, hard = (CohortPlan(count=9, hard_share=share) for share in (0.0, 1.0))
        more = [len(hard.phantom(n)._wanted.conditions) - len(usual.phantom(n)._wanted.conditions) for n in range(9)]
        assert min(more) >= 1

    def test_all_spines_can_be_made_variants_and_the_bodies_stay_the_same(self):
        usual, variants = (CohortPlan(count=9, variant_share=share) for share in (0.0, 1.0))
        for n in range(9):
            plain, special = usual.phantom(n)._wanted, variants.phantom(n)._wanted
            assert plain.variant == Variant() != special.variant
            assert plain.psoas_cm2 == special.psoas_cm2

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"count": 0}, "1 to 100,000 cases, got 0"),
            ({"seed": -1}, "0 or more, got -1"),
            ({"region": "elbow"}, "no region 'elbow'"),
            ({"format": "png"}, "nifti or dicom, got 'png'"),
            ({"matrix": 8}, "32 to 2048 voxels along a side, got 8"),
            ({"slice_mm": 0.0}, "0.5 to 20 mm thick, got 0"),
            ({"conditions": {"flu": 1.0}}, "no condition 'flu'"),
            ({"hard_share": 2.0}, "hard_share is 0 to 1, got 2"),
        ],
    )
    def test_impossible_ones_are_refused(self, wrong, reason):
        with pytest.raises(ValueError, match=reason):
            CohortPlan(**wrong)


def test_nifti_files_carry_the_mark(made):
    header = nib.load(next(made["nifti"].glob("*.nii.gz"))).header
    assert header["descrip"].item() == b"digital phantom, not a patient"
