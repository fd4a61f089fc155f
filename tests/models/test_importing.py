"""What nnU-Net trained elsewhere works here as a version, and nothing else does."""

import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.models import Registry
from lib.models.importing import import_results, match_labels
from lib.refusals import Refusal
from scripts import import_model
from scripts.command import Stop

TASK = "l3_muscle"
LABELS = {"background": 0, "paraspinal": 1, "psoas_muscle": 2, "wall": 3, "kidney": 4}
NAMES = {"psoas_muscle": "psoas", "wall": "abdominal_wall"}
CLASSES = {"psoas": 2, "paraspinal": 1, "abdominal_wall": 3}
TRAINING = "Dataset011_L3/nnUNetTrainer__nnUNetPlans__2d"
PLANS = {
    "dataset_name": "Dataset011_L3",
    "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [5.0, 0.8, 0.8],
    "original_median_shape_after_transp": [1, 512, 512],
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 40.0, "std": 60.0, "percentile_00_5": -150.0, "percentile_99_5": 200.0}
    },
    "configurations": {
        "2d": {
            "data_identifier": "nnUNetPlans_2d",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [32, 32],
            "spacing": [0.8, 0.8],
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
            "batch_dice": True,
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {
                    "n_stages": 3,
                    "features_per_stage": [4, 8, 8],
                    "conv_op": "torch.nn.modules.conv.Conv2d",
                    "kernel_sizes": [[3, 3]] * 3,
                    "strides": [[1, 1], [2, 2], [2, 2]],
                    "n_conv_per_stage": [1, 1, 1],
                    "n_conv_per_stage_decoder": [1, 1],
                    "conv_bias": True,
                    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
                    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }
    },
}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """nnU-Net's folders on another machine: its trainer's checkpoints of five folds, and a zip that it exported."""
    root = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        from nnunetv2.model_sharing.model_export import export_pretrained_model
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        dataset = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 9, "file_ending": ".nii.gz"}
        preprocessed = root / "preprocessed" / "Dataset011_L3" / "nnUNetPlans_2d"
        preprocessed.mkdir(parents=True)
        (preprocessed / "case.b2nd").touch()  # the trainer looks for the kind of files
        results = root / "results" / TRAINING
        for name, content in {"plans": PLANS, "dataset": dataset, "dataset_fingerprint": {"spacings": []}}.items():
            write_json(results / f"{name}.json", content)
        trainer = nnUNetTrainer({**PLANS, "continue_training": False}, "2d", 0, dataset, torch.device("cpu"))
        trainer.initialize()
        for key in ("mean_fg_dice", "ema_fg_dice"):
            trainer.logger.log(key, np.float32(0.5), 0)
        trainer.logger.log("dice_per_class_or_region", [np.float64(0.5)] * 4, 0)
        trainer._best_ema = np.float64(0.5)
        for fold in range(5):
            (results / f"fold_{fold}").mkdir(exist_ok=True)
            next(trainer.network.parameters()).data += 1  # each fold has its own weights
            trainer.save_checkpoint(str(results / f"fold_{fold}" / "checkpoint_final.pth"))
            (results / f"fold_{fold}" / "progress.png").write_bytes(b"png")
            cases = [
                {
                    "prediction_file": f"/data/names/Doe_{fold}_{case}.nii.gz",
                    "metrics": {str(label): {"Dice": 0.5 + fold / 10} for label in range(1, 5)},
                }
                for case in range(2)
            ]
            write_json(results / f"fold_{fold}" / "validation" / "summary.json", {"metric_per_case": cases})
        export_pretrained_model("Dataset011_L3", str(root / "model.zip"), configurations=("2d",))
    return root


@pytest.fixture
def results(elsewhere, tmp_path):
    """A copy of the results folder, to be damaged."""
    return shutil.copytree(elsewhere / "results" / TRAINING, tmp_path / "theirs")


def refused(registry, source, *, names=NAMES):
    """The reason for which an import is refused; nothing is left of it."""
    with pytest.raises(Refusal) as refusal:
        import_results(registry, TASK, source, names=names)
    assert registry.versions(TASK) == []
    staging = registry._folder(TASK) / ".staging"
    assert not staging.exists() or not any(staging.iterdir())
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


class TestWhatWorks:
    def test_an_exported_zip_is_read_by_nnunets_own_predictor(self, registry, elsewhere):
        imported = import_results(registry, TASK, elsewhere / "model.zip", names=NAMES)
        version = registry.version(TASK, "v0001")
        assert imported.version == version
        assert (imported.ignored, imported.unfinished) == (("kidney",), ())
        assert version.manifest.classes == CLASSES
        assert version.manifest.origin == "imported from model.zip"
        assert version.manifest.phantoms == "unknown"
        assert version.fold_numbers == (0, 1, 2, 3, 4)
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
        predictor.initialize_from_trained_model_folder(str(version.folder), use_folds=None)
        theirs = torch.load(elsewhere / "results" / TRAINING / "fold_3" / "checkpoint_final.pth", weights_only=False)
        for name, tensor in theirs["network_weights"].items():
            assert torch.equal(tensor, predictor.list_of_parameters[3][name])

    def test_its_validation_is_kept_without_the_names_of_the_cases(self, registry, elsewhere):
        version = import_results(registry, TASK, elsewhere / "model.zip", names=NAMES).version
        assert version.manifest.metrics["best_fold"] == 4
        assert version.manifest.metrics["pooled"]["dice"]["psoas"]["mean"] == pytest.approx(0.7)
        assert not [path for path in version.folder.rglob("*") if path.is_file() and b"Doe_" in path.read_bytes()]

    @pytest.mark.parametrize("above", ["", "..", "../.."])
    def test_a_folder_is_found_from_above(self, registry, elsewhere, above):
        source = elsewhere / "results" / TRAINING / above
        assert import_results(registry, TASK, source, names=NAMES).version.name == "v0001"

    def test_some_folds_are_enough_and_keep_their_numbers(self, registry, results):
        shutil.rmtree(results / "fold_0")
        shutil.rmtree(results / "fold_3")
        (results / "fold_2" / "checkpoint_final.pth").rename(results / "fold_2" / "checkpoint_best.pth")
        imported = import_results(registry, TASK, results, names=NAMES)
        assert imported.version.fold_numbers == (1, 4)
        assert imported.version.manifest.folds == 2
        assert imported.unfinished == (2,)
        assert [row["fold"] for row in imported.version.manifest.metrics["folds"]] == [1, 4]

    def test_without_results_of_its_validation_none_are_claimed(self, registry, results):
        (results / "fold_1" / "validation" / "summary.json").write_text('{"metric_per_case": [1]}')
        assert import_results(registry, TASK, results, names=NAMES).version.manifest.metrics == {}


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "names", "reason"),
        [
            (
                LABELS,
                {},
                "it shows paraspinal, psoas_muscle, wall, kidney; say which of them is psoas, if any, with --map",
            ),
            (LABELS, {**NAMES, "liver": "psoas"}, "knows no label liver"),
            (LABELS, {**NAMES, "kidney": "renal"}, "l3_muscle has no structure renal"),
            (LABELS, {**NAMES, "kidney": "psoas"}, "psoas_muscle and kidney would both be psoas"),
            ({"background": 0, "psoas": 1, "paraspinal": [2, 3], "abdominal_wall": 3}, {}, "regions"),
            ({"background": 0, "psoas": 1, "paraspinal": 2, "abdominal_wall": 5}, {}, "without gaps"),
            ({"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}, {}, "no background"),
            (["psoas"], {}, "no background"),
        ],
    )
    def test_that_cannot_be_matched(self, labels, names, reason):
        with pytest.raises(Refusal, match=reason):
            match_labels({"labels": labels}, TASK, names, Refusal)

    def test_unjudged_voxels_are_no_label(self):
        labels = {"background": 0, "abdominal_wall": 1, "psoas": 2, "paraspinal": 3, "ignore": 4}
        classes = {"psoas": 2, "paraspinal": 3, "abdominal_wall": 1}
        assert match_labels({"labels": labels}, TASK, {}, Refusal) == (classes, ())


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda p: p["configurations"].update({"3d_fullres": p["configurations"].pop("2d")}),
                "it is no 2-D network",
            ),
            (lambda p: p["configurations"]["2d"].update(patch_size=[8, 32, 32]), "it is no 2-D network"),
            (
                lambda p: p["configurations"]["2d"].update(normalization_schemes=["ZScoreNormalization"]),
                "not normalised as CT",
            ),
            (lambda p: p["configurations"]["2d"].pop("patch_size"), "damaged, or of an nnU-Net that"),
            (
                lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(features_per_stage=[4, 8, 9]),
                "weights in fold_0/checkpoint_final.pth do not fit",
            ),
            (
                lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(n_stages="three"),
                "cannot be built",
            ),
            (
                lambda p: p["configurations"]["2d"]["architecture"].update(network_class_name="os.system"),
                "not one of nnU-Net's",
            ),
            (
                lambda p: p["configurations"]["2d"]["architecture"]["arch_kwargs"].update(
                    nonlin="torch.nn.modules.module.torch.hub.load"
                ),
                "not PyTorch's",
            ),
        ],
    )
    def test_plans(self, registry, results, change, reason):
        change_json(results / "plans.json", change)
        assert reason in refused(registry, results)

    @pytest.mark.parametrize(
        "channels", [{"0": "MR"}, {"0": "CT", "1": "CT"}, {}, None], ids=["MR", "two", "none", "missing"]
    )
    def test_other_images_than_ct(self, registry, results, channels):
        change_json(results / "dataset.json", lambda d: d.update(channel_names=channels))
        assert "not trained on CT alone" in refused(registry, results)

    def test_a_label_too_many(self, registry, results):
        change_json(results / "dataset.json", lambda d: d["labels"].update(spleen=5))
        assert "do not fit the network" in refused(registry, results)

    @pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
    @pytest.mark.parametrize("text", ["", "[1]", '{"labels": {', "[" * 100_000])
    def test_damaged_json(self, registry, results, name, text):
        (results / name).write_text(text)
        assert name in refused(registry, results)

    def test_nothing_to_import(self, registry, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "there is no plans.json in it" in refused(registry, tmp_path / "empty")
        assert "There is no folder or zip gone.zip" in refused(registry, tmp_path / "gone.zip")

    def test_no_finished_fold(self, registry, results):
        for fold in range(1, 5):
            shutil.rmtree(results / f"fold_{fold}")
        (results / "fold_0").rename(results / "fold_all")
        assert "none of fold_0 to fold_4 is in it" in refused(registry, results)

    def test_several_trainings(self, registry, elsewhere, tmp_path):
        for name in ("A__nnUNetPlans__2d", "B__nnUNetPlans__2d"):
            shutil.copytree(elsewhere / "results" / TRAINING, tmp_path / "all" / name)
        assert "several trainings (A__nnUNetPlans__2d, B__nnUNetPlans__2d)" in refused(registry, tmp_path / "all")


def change_checkpoint(path, change):
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


class Evil:
    """Loaded in the usual way it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda c: c["init_args"].update(configuration="3d_fullres"), "of the configuration 3d_fullres"),
            (lambda c: c.pop("network_weights"), "no checkpoint of nnU-Net"),
            (lambda c: c["network_weights"].popitem(), "do not fit"),
            (lambda c: next(iter(c["network_weights"].values())).fill_(torch.nan), "not finite"),
        ],
    )
    def test_of_another_network(self, registry, results, change, reason):
        change_checkpoint(results / "fold_0" / "checkpoint_final.pth", change)
        assert reason in refused(registry, results)

    @pytest.mark.parametrize("legacy", [False, True])
    def test_that_would_run_a_program_does_not(self, registry, results, tmp_path, legacy):
        trap = tmp_path / "trap"
        path = results / "fold_4" / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        torch.save({**content, "logging": Evil(trap)}, path, _use_new_zipfile_serialization=not legacy)
        assert "fold_4/checkpoint_final.pth holds more than weights" in refused(registry, results)
        assert not trap.exists()
        torch.load(path, weights_only=False)
        assert trap.exists()

    @pytest.mark.parametrize(
        "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no checkpoint", lambda b: bytes(len(b))]
    )
    def test_damaged(self, registry, results, damage):
        path = results / "fold_2" / "checkpoint_final.pth"
        path.write_bytes(damage(path.read_bytes()))
        assert "fold_2/checkpoint_final.pth is damaged" in refused(registry, results)

    def test_a_flipped_bit_is_noticed(self, registry, results):
        path = results / "fold_2" / "checkpoint_final.pth"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        assert "fold_2/checkpoint_final.pth is damaged" in refused(registry, results)


class TestZips:
    @pytest.fixture
    def archive(self, elsewhere, tmp_path):
        return Path(shutil.copy(elsewhere / "model.zip", tmp_path / "model.zip"))

    @pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a\\..\\..\\evil.txt", "C:/evil.txt"])
    def test_that_reach_out_of_their_folder(self, registry, archive, name):
        with zipfile.ZipFile(archive, "a") as opened:
            opened.writestr(name, "x")
        assert "outside its folder" in refused(registry, archive)

    def test_with_one_name_twice(self, registry, archive):
        with zipfile.ZipFile(archive, "a") as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            opened.writestr(f"{TRAINING}/plans.json", "{}")
        assert "plans.json twice" in refused(registry, archive)

    def test_that_blow_up(self, registry, tmp_path):
        """A hundred kilobytes that unpack to seventy megabytes."""
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("plans.json", " " * 70_000_000)
        assert "plans.json is larger than any" in refused(registry, tmp_path / "bomb.zip")

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
    def test_cut_short(self, registry, archive, part):
        content = archive.read_bytes()
        archive.write_bytes(content[: int(len(content) * part)])
        assert "model.zip cannot be imported: it is damaged" in refused(registry, archive)

    def test_with_a_changed_byte(self, registry, archive):
        with zipfile.ZipFile(archive) as opened:
            start = opened.getinfo(f"{TRAINING}/fold_2/checkpoint_final.pth").header_offset
        content = bytearray(archive.read_bytes())
        content[start + 3000] ^= 255
        archive.write_bytes(content)
        assert "model.zip cannot be imported: it is damaged" in refused(registry, archive)

    def test_with_another_compression(self, registry, tmp_path):
        with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_LZMA) as opened:
            opened.writestr("plans.json", "{}")
        assert "in a way that nnU-Net does not use; unpack it" in refused(registry, tmp_path / "model.zip")

    def test_that_are_none(self, registry, tmp_path):
        (tmp_path / "model.zip").write_text("no zip")
        assert "model.zip cannot be imported: it is damaged, or no zip" in refused(registry, tmp_path / "model.zip")


class TestCommand:
    ARGUMENTS = ("--task", TASK, "--map", "psoas_muscle=psoas", "--map", "wall = abdominal_wall")

    def test_imports_and_makes_it_the_champion_on_request(self, elsewhere, tmp_path, capsys):
        arguments = [str(elsewhere / "model.zip"), *self.ARGUMENTS, "--models", str(tmp_path / "model")]
        assert import_model.main(arguments) == 0
        assert "model.zip is v0001 of l3_muscle, with folds 0, 1, 2, 3, 4." in capsys.readouterr().out
        registry = Registry(tmp_path / "model")
        assert registry.champion(TASK) is None
        assert import_model.main([*arguments, "--champion"]) == 0
        assert "v0002 answers for l3_muscle from now on." in capsys.readouterr().out
        assert registry.champion(TASK).name == "v0002"

    def test_says_in_one_sentence_why_not(self, elsewhere, tmp_path):
        arguments = [str(elsewhere / "model.zip"), "--task", TASK, "--models", str(tmp_path / "model")]
        with pytest.raises(Stop, match="with --map LABEL=psoas"):
            import_model.main(arguments)
        with pytest.raises(Stop, match="twice"):
            import_model.main([*arguments, "--map", "wall=psoas", "--map", "wall=paraspinal"])

    def test_a_map_without_a_name(self, capsys):
        with pytest.raises(SystemExit):
            import_model.parse(["x", "--task", TASK, "--map", "psoas"])
        assert "not of the form THEIR=OURS" in capsys.readouterr().err
