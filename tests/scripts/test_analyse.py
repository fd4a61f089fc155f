"""Many CTs are analysed into one table, whatever some of them are and whatever happens meanwhile."""

from __future__ import annotations

import csv
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from lib.anatomy.cutoffs import CUTOFFS
from lib.anatomy.schemas import BODY_COMPOSITION, SARCOPENIA
from lib.images import CTImage, read_ct
from lib.images.files import write_ct
from lib.models import Registry
from lib.models.importing import import_results
from lib.phantoms.cohort import Cohort, CohortPlan
from scripts.analyse import champions, main, stamp_of
from scripts.analysis.pinned import PinnedRegistry
from scripts.analysis.run import Plan, Run
from scripts.analysis.sources import JOURNAL, find_sources
from scripts.analysis.table import TABLE, columns
from scripts.analysis.worker import Settings
from scripts.benchmarks.l3_ensemble import write_untrained
from scripts.command import Stop
from scripts.environment import ROOT


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """A slice at L3 as NIfTI, and one as a folder of DICOM."""
    folder = tmp_path_factory.mktemp("phantoms")
    for form in ("nifti", "dicom"):
        plan = CohortPlan(
            region="l3", count=2 if form == "dicom" else 1, seed=7, matrix=128, format=form, conditions={}, labels=False
        )
        Cohort(folder / form, plan).write()
    return folder


@pytest.fixture
def slice_file(phantoms) -> Path:
    return next((phantoms / "nifti").glob("*.nii.gz"))


@pytest.fixture
def none(tmp_path) -> Path:
    """A folder without models: what a developer has trained must not answer here."""
    return tmp_path / "no_models"


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def done(phantoms, tmp_path_factory) -> tuple[Path, Path]:
    """A folder of good and bad files, and the results in a folder within it."""
    folder = tmp_path_factory.mktemp("many")
    source = next((phantoms / "nifti").glob("*.nii.gz"))
    for name in ("a", "b"):
        (folder / name).mkdir()
        shutil.copy(source, folder / name / "ct.nii.gz")
    (folder / "cut.nii.gz").write_bytes(source.read_bytes()[:2000])
    (folder / "=empty.nii").touch()
    (folder / "notes.txt").write_text("no image")
    image = read_ct(source)
    write_ct(folder / "mr.nii", CTImage(hu=np.maximum(image.hu, 0), affine=image.affine))
    two = folder / "two"
    two.mkdir()
    for series in (path for path in (phantoms / "dicom").iterdir() if path.is_dir()):
        for path in series.iterdir():
            shutil.copy(path, two / f"{series.name}_{path.name}")
    air = np.full((64, 64, 40), -1000, np.int16)
    air[20:40, 20:40] = 30
    write_ct(folder / "no_spine.nii", CTImage(hu=air, affine=np.diag([4.0, 4, 4, 1])))
    (folder / "facts.csv").write_text("case,sex,height_m,weight_kg,contrast\na_ct,F,1.6,60,no\n", encoding="utf-8")
    out = folder / "results"
    arguments = [str(folder), "--out", str(out), "--labels", "--workers", "2", "--quiet"]
    arguments += ["--models", str(folder / "none"), "--facts", str(folder / "facts.csv")]
    assert main(arguments) == 0
    return folder, out


class TestManyFiles:
    def test_every_ct_has_a_row_and_every_bad_one_its_reason(self, done):
        rows = rows_of(done[1])
        failed = {case: row["reason"] for case, row in rows.items() if row["status"] == "failed"}
        assert failed.keys() == {"cut", "_=empty", "mr", "no_spine"}
        assert "cut short" in failed["cut"]
        assert "empty" in failed["_=empty"]
        assert "an MR" in failed["mr"]
        assert "No spine" in failed["no_spine"] or "Too few vertebrae" in failed["no_spine"]
        two = [case for case in rows if case.startswith("two~")]
        assert len(two) == 2
        assert rows.keys() == {"a_ct", "b_ct", *failed, *two}

    def test_the_table_opens_in_a_spreadsheet_with_its_columns_in_order(self, done):
        raw = (done[1] / TABLE).read_bytes()
        assert raw.startswith(b"\xef\xbb\xbf")
        assert next(csv.reader([raw.decode("utf-8-sig").splitlines()[0]])) == list(columns(SARCOPENIA))
        row = rows_of(done[1])["a_ct"]
        text = {
            "case", "file", "series", "status", "reason", "phantom", "sex", "contrast", "level", "method",
            "model_versions",
            "level_method", "level_model_version", "level_variants", "level_convention", "level_candidates",
            "not_judged", "warnings", "overlay", *(cutoff.name for cutoff in CUTOFFS),
        }  # fmt: skip
        for name in set(row) - text:
            assert row[name] == "" or np.isfinite(float(row[name])), name
        assert not any(cell.startswith(("=", "+", "@")) for row in rows_of(done[1]).values() for cell in row.values())

    def test_facts_lead_to_an_index_and_calls_under_named_cut_offs_that_name_no_disease(self, done):
        rows = rows_of(done[1])
        known, unknown = rows["a_ct"], rows["b_ct"]
        area = float(known["skeletal_muscle_muscle_range_area_cm2"])
        assert known["contrast"] == "no"
        assert "ontrast" not in known["warnings"]
        assert "(--facts, column contrast)" in unknown["warnings"]
        assert float(known["smi_cm2_m2"]) == pytest.approx(area / 1.6**2, abs=0.01)
        assert known["prado_2008_smi"] in ("low muscle mass", "muscle mass not low")
        assert known["martin_2013_attenuation"] in ("low muscle attenuation", "muscle attenuation not low")
        assert (unknown["smi_cm2_m2"], unknown["derstine_2018_sma"]) == ("", "")
        assert "derstine_2018_sma: sex unknown" in unknown["not_judged"]
        assert "--facts, column height_m" in unknown["warnings"]
        assert "sarcopenia" not in (done[1] / TABLE).read_text(encoding="utf-8-sig").split("\n", 1)[1].replace(
            str(done[0]), ""
        )

    def test_a_phantom_is_called_one_and_no_patient_is_named(self, done):
        row = rows_of(done[1])["two~" + sorted(c.split("~")[1] for c in rows_of(done[1]) if "~" in c)[0]]
        assert row["phantom"] == "yes"
        assert "PHANTOM-" not in ",".join(row.values())

    def test_each_case_that_was_answered_has_its_picture_and_its_label(self, done):
        folder, out = done
        rows = rows_of(out)
        analysed = {case for case, row in rows.items() if row["status"] == "analysed"}
        assert {path.stem for path in (out / "overlays").iterdir()} == analysed
        assert {path.name[:-7] for path in (out / "segmentations").iterdir()} == analysed
        with Image.open(out / rows["a_ct"]["overlay"]) as picture:
            assert picture.width > 1000
        label, image = (nib.load(p) for p in (out / "segmentations" / "a_ct.nii.gz", folder / "a" / "ct.nii.gz"))
        assert np.array_equal(label.affine, image.affine)
        area = (
            (np.asarray(label.dataobj) == SARCOPENIA.ids["psoas"]).sum() * np.prod(image.header.get_zooms()[:2]) / 100
        )
        assert float(rows["a_ct"]["psoas_area_cm2"]) == pytest.approx(area, abs=0.01)

    def test_a_second_run_does_nothing_and_starts_no_process(self, done, capsys, monkeypatch):
        folder, out = done
        before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
        monkeypatch.setattr("scripts.analysis.processes._Process", None)
        arguments = [str(folder), "--out", str(out), "--labels", "--quiet", "--models", str(folder / "none")]
        main([*arguments, "--facts", str(folder / "facts.csv")])
        said = capsys.readouterr().out
        assert "8 cases: 4 analysed, 4 failed." in said
        assert "8 of them were done before." in said
        assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == before


def run_once(folder: Path, out: Path, **models: str) -> tuple[int, int]:
    """How many cases were done before, and how many now."""
    out.mkdir(exist_ok=True)
    plan = Plan(
        sources=find_sources([folder]),
        settings=Settings(task="sarcopenia", models=out / "none", out=out, labels=False),
        models=models,
    )
    counts = Run(plan, tqdm(total=len(plan.sources), disable=True)).go()
    return counts.before, counts.now


def test_what_has_changed_is_done_anew_and_nothing_else(slice_file, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(slice_file, folder / "one.nii.gz")
    (folder / "two.nii.gz").write_bytes(b"broken")
    assert run_once(folder, out) == (0, 2)
    assert run_once(folder, out) == (2, 0)
    picture = out / "overlays" / "one.png"
    picture.unlink()
    assert run_once(folder, out) == (1, 1)
    assert picture.exists()
    (folder / "one.nii.gz").write_bytes(b"now broken too")
    assert run_once(folder, out) == (1, 1)
    assert rows_of(out)["one"]["status"] == "failed"
    assert not picture.exists()
    assert run_once(folder, out, l3_muscle="v0002") == (0, 2)


def test_inputs_that_were_moved_are_in_the_table_once_and_those_not_given_stay(tmp_path, none, capsys):
    def analyse(*names: str) -> list[str]:
        main(
            [
                *(str(tmp_path / name) for name in names),
                "--out",
                str(tmp_path / "out"),
                "--models",
                str(none),
                "--quiet",
            ]
        )
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Rows")]

    for name in ("e/1.nii", "e/2.nii", "other/3.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"broken")
    assert analyse("e", "other") == []
    (tmp_path / "e").rename(tmp_path / "f")
    (tmp_path / "f" / "2.nii").unlink()
    not_given = "Rows of the table whose inputs were not given this time: 1."
    left_out = "Rows left out of the table, since their files are not there any more: 1."
    assert analyse("f") == [not_given, left_out]
    rows = rows_of(tmp_path / "out")
    assert {case: row["file"] for case, row in rows.items()} == {
        "1": str(tmp_path / "f" / "1.nii"),
        "3": str(tmp_path / "other" / "3.nii"),
    }
    (tmp_path / "f").rename(tmp_path / "e")
    (tmp_path / "e" / "2.nii").write_bytes(b"broken")
    assert analyse("e", "other") == []
    assert {row["file"] for row in rows_of(tmp_path / "out").values()} == {
        str(tmp_path / name) for name in ("e/1.nii", "e/2.nii", "other/3.nii")
    }


def test_a_table_that_is_open_in_a_spreadsheet_ends_the_run_only_at_its_end(slice_file, tmp_path, monkeypatch):
    def locked(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "out" / TABLE))

    monkeypatch.setattr("scripts.analysis.run._TABLE_EVERY_S", -1.0)
    monkeypatch.setattr("scripts.analysis.run.write_table", locked)
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.nii").write_bytes(b"broken")
    with pytest.raises(PermissionError):
        run_once(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / JOURNAL).read_text().count('"status": "failed"') == 2


def test_a_folder_at_which_the_program_fails_is_noted_and_tried_again(phantoms, slice_file, tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(next(path for path in (phantoms / "dicom").iterdir() if path.is_dir()), folder / "a")
    shutil.copy(slice_file, folder / "b.nii.gz")

    def failing(_folder: Path) -> None:
        raise struct.error("as pydicom raised it")

    with monkeypatch.context() as patch:
        patch.setattr("scripts.analysis.run.ct_series", failing)
        assert run_once(folder, out) == (0, 2)
    rows = rows_of(out)
    assert (rows["a"]["status"], rows["b"]["status"]) == ("failed", "analysed")
    assert "errors.log" in rows["a"]["reason"]
    assert "as pydicom raised it" in (out / "errors.log").read_text(encoding="utf-8")
    assert run_once(folder, out) == (1, 1)
    assert rows_of(out)["a"]["status"] == "analysed"


def test_a_dicom_file_that_was_set_aside_is_told_in_the_row(phantoms, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(next(path for path in (phantoms / "dicom").iterdir() if path.is_dir()), folder)
    (folder / "spoilt.dcm").touch()
    assert run_once(folder, out) == (0, 1)
    assert "1 file of the DICOM folder could not be used (first spoilt.dcm)" in rows_of(out)["in"]["warnings"]


class TestModels:
    @pytest.fixture
    def models(self, tmp_path) -> Path:
        registry = Registry(tmp_path / "models")
        model = write_untrained(tmp_path / "untrained", patch=(64, 64), spacing_mm=4.0, features=(8, 16), folds=1)
        registry.set_champion("l3_muscle", import_results(registry, "l3_muscle", model).version.name)
        return registry.root

    def analyse(self, slice_file: Path, models: Path, out: Path) -> dict[str, str]:
        arguments = ["--models", str(models), "--task", "l3_muscle", "--workers", "1", "--quiet"]
        assert main([str(slice_file), "--out", str(out), *arguments]) == 0
        (row,) = rows_of(out).values()
        return row

    def test_a_case_that_failed_by_a_damaged_model_is_tried_again(self, slice_file, models, tmp_path):
        (checkpoint,) = (models / "l3_muscle" / "v0001").glob("fold_0/*.pth")
        whole = checkpoint.read_bytes()
        checkpoint.write_bytes(bytes(len(whole)))
        row = self.analyse(slice_file, models, tmp_path / "out")
        assert (row["status"], "is damaged" in row["reason"]) == ("failed", True)
        checkpoint.write_bytes(whole)
        row = self.analyse(slice_file, models, tmp_path / "out")
        assert (row["status"], row["model_versions"]) == ("analysed", "v0001")

    def test_a_version_of_the_same_name_in_another_folder_is_another_model(self, models, tmp_path):
        here = champions(models, "l3_muscle")["l3_muscle"]
        manifest = here.folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace(here.manifest.created, "2020-01-01T00:00:00+00:00"))
        there = champions(models, "l3_muscle")["l3_muscle"]
        assert here.name == there.name
        assert stamp_of(here) != stamp_of(there)

    def test_a_champion_chosen_meanwhile_answers_the_next_analysis_only(self, models):
        registry = Registry(models)
        with registry.staging("l3_muscle") as folder:
            shutil.copytree(models / "l3_muscle" / "v0001", folder, dirs_exist_ok=True)
            (folder / "manifest.json").unlink()
            second = registry.publish(folder, registry.version("l3_muscle", "v0001").manifest)
        pinned = PinnedRegistry(models, {"l3_muscle": "v0001"})
        before = pinned.stamp("l3_muscle"), pinned.champion("l3_muscle")
        registry.set_champion("l3_muscle", second.name)
        assert (pinned.stamp("l3_muscle"), pinned.champion("l3_muscle")) == before
        assert before[1].name == "v0001"
        assert pinned.champion("l3_tissue") is None


class TestRefusals:
    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(Stop, match="No CT was found"):
            main([str(tmp_path), "--out", str(tmp_path / "out")])
        assert not (tmp_path / "out").exists()

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(Stop, match="no file or folder"):
            main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])

    def test_results_of_another_task_are_not_mixed_in(self, slice_file, tmp_path, none):
        out = tmp_path / "out"
        out.mkdir()
        (out / JOURNAL).write_text('{"task": "l3_muscle"}\n')
        with pytest.raises(Stop, match="an analysis of l3_muscle"):
            main([str(slice_file), "--out", str(out), "--models", str(none), "--quiet"])

    def test_two_at_once_into_one_folder(self, slice_file, tmp_path, none):
        (tmp_path / "out").mkdir()
        with FileLock(tmp_path / "out" / ".analysis.lock"), pytest.raises(Stop, match="Another analysis"):
            main([str(slice_file), "--out", str(tmp_path / "out"), "--models", str(none), "--quiet"])

    def test_a_folder_for_results_that_is_a_file(self, slice_file, tmp_path, none):
        (tmp_path / "out").write_text("x")
        with pytest.raises(Stop, match="out"):
            main([str(slice_file), "--out", str(tmp_path / "out"), "--models", str(none), "--quiet"])

    def test_a_champion_that_cannot_be_used(self, slice_file, tmp_path):
        (tmp_path / "models" / "l3_muscle").mkdir(parents=True)
        (tmp_path / "models" / "l3_muscle" / "champion.json").write_text("broken")
        with pytest.raises(Stop, match="damaged"):
            main([str(slice_file), "--out", str(tmp_path / "out"), "--models", str(tmp_path / "models"), "--quiet"])


def test_without_models_none_takes_part(none):
    assert champions(none, "sarcopenia") == {}


def test_on_a_whole_ct_the_row_says_where_l3_is(real_ct_path, tmp_path, none):
    main([str(real_ct_path), "--out", str(tmp_path / "out"), "--models", str(none), "--quiet"])
    row = rows_of(tmp_path / "out")["ct_abdomen_3mm"]
    assert 66 <= int(row["slice_index"]) <= 79  # L3 in this CT
    affine = nib.load(real_ct_path).affine
    assert float(row["z_mm"]) == pytest.approx(affine[2, 3] + 3 * int(row["slice_index"]), abs=0.2)
    assert row["level"] == "L3 inferior endplate"
    assert float(row["level_confidence"]) > 0.5


def test_the_documentation_names_every_column():
    text = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    regions = [*SARCOPENIA.names, "skeletal_muscle", "total"]
    told_together = tuple(f"{region}_" for region in regions if f"`{region}_...`" in text)
    missing = [name for name in columns(SARCOPENIA) if f"`{name}`" not in text and not name.startswith(told_together)]
    assert missing == []


def test_the_whole_body_has_volumes_and_says_what_it_does_not_show(slice_file, none, tmp_path):
    out = tmp_path / "results"
    arguments = [str(slice_file), "--out", str(out), "--task", "body_composition", "--models", str(none), "--quiet"]
    assert main(arguments) == 0
    (row,) = rows_of(out).values()
    assert list(row) == list(columns(BODY_COMPOSITION))
    assert row["status"] == "analysed", row["reason"]
    assert float(row["muscle_volume_cm3"]) > 10
    assert (row["waist_muscle_cm2"], row["waist_smi_cm2_m2"], row["torso_smi_cm3_m2"]) == ("", "", "")
    assert row["torso_missing"] == "neck and mid-thigh"
    assert "waist" in row["not_measured"]
    with Image.open(out / row["overlay"]) as picture:
        assert picture.format == "PNG"


def test_with_reports_every_case_has_a_page_and_the_cohort_one(slice_file, none, tmp_path):
    out = tmp_path / "out"
    arguments = [str(slice_file), "--out", str(out), "--models", str(none), "--quiet", "--reports"]
    assert main([*arguments, "--cutoffs", "prado_2008_smi"]) == 0
    (case,) = rows_of(out)
    assert (out / "reports" / f"{case}.pdf").read_bytes().startswith(b"%PDF")
    page = (out / "reports" / f"{case}.html").read_text()
    assert "Digital phantom, not a patient." in page
    assert "martin_2013" not in page
    cohort = (out / "cohort.html").read_text()
    assert "1 case: 1 analysed, 0 failed." in cohort
    assert "1 of the cases: digital phantom" in cohort


def test_unknown_cut_offs_and_reports_of_no_slice_are_refused(slice_file, none, tmp_path):
    arguments = [str(slice_file), "--out", str(tmp_path / "out"), "--models", str(none), "--quiet", "--reports"]
    with pytest.raises(Stop, match="no cut-off 'mine'"):
        main([*arguments, "--cutoffs", "mine"])
    with pytest.raises(Stop, match="L3 slice only"):
        main([*arguments, "--task", "body_composition"])
