"""Takes over what nnU-Net trained elsewhere: a results folder, or a zip made by ``nnUNetv2_export_model_to_zip``.

A file from elsewhere is not trusted. A checkpoint is a pickle, which can run any program when it is loaded, and plans
name classes that are imported; so the former is loaded here once in PyTorch's restricted way and the latter compared
with where nnU-Net's networks are. Of a zip only files with expected names are unpacked, to names decided here.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from lib.anatomy.schemas import SCHEMAS
from lib.models.files import disk_full
from lib.models.manifest import Manifest
from lib.models.registry import Registry, Version
from lib.networks.nnunet.cross_validation import FoldDice, cross_validation
from lib.networks.nnunet.workspace import CHECKPOINT, CONFIGURATION, NETWORK
from lib.refusals import Refusal

PLANS, DATASET, FINGERPRINT = "plans.json", "dataset.json", "dataset_fingerprint.json"
_SUMMARY = "validation/summary.json"
_FOLDS = range(5)
Refuse = Callable[[str], Refusal]
"""Makes the refusal of an import from its reason."""
_MOST_JSON = 2**26
_MOST_CHECKPOINT = 2**33
_ENCRYPTED = 1  # in the flags of a zip's member
_NETWORK_CLASS = re.compile(r"dynamic_network_architectures\.architectures\.\w+\.[A-Z]\w*")
_BUILDING_BLOCK = re.compile(r"torch\.nn\.(modules\.\w+\.)?[A-Z]\w*")
# What an nnU-Net checkpoint holds beside tensors and plain values: numbers of numpy. The function that makes them has
# another name in numpy 2 than in numpy 1.
_NUMPY_SCALARS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
]


@dataclass(frozen=True)
class Imported:
    """What became of an import.

    Attributes:
        version: the new version.
        unfinished: folds that were left out since they have no ``checkpoint_final.pth``.
        ignored: labels of theirs that are none of the task's structures; they count as background.
    """

    version: Version
    unfinished: tuple[int, ...]
    ignored: tuple[str, ...]


def import_results(registry: Registry, task: str, path: Path, *, names: Mapping[str, str] | None = None) -> Imported:
    """Make a version of what was trained elsewhere. It does not become the champion by itself.

    Args:
        registry: where to.
        task: whose structures it shows.
        path: a results folder (with plans.json, dataset.json and fold_0 to fold_4 or some of them), a folder above it,
            or a zip.
        names: a label's name in their dataset.json to the name of the task's structure, where they differ.

    Raises:
        Refusal: it is damaged, unsafe, no 2-D nnU-Net for one CT channel, does not show all structures of the task,
            or cannot be written; no version was added.
    """
    path = path.resolve()
    with _opened(path) as source:
        plans, dataset = source.json(PLANS), source.json(DATASET)
        classes, ignored = match_labels(dataset, task, names or {}, source.refuse)
        network = _Network(plans, dataset, source.refuse)
        finished, unfinished = _find_folds(source)
        with registry.staging(task) as folder:
            files = [PLANS, DATASET, *([FINGERPRINT] if source.size(FINGERPRINT) is not None else [])]
            checkpoints = [f"fold_{fold}/{CHECKPOINT}" for fold in finished]
            if sum(source.size(name) or 0 for name in files + checkpoints) > shutil.disk_usage(folder).free:
                raise disk_full(f"Importing {path.name}")
            for name in files:
                source.copy(name, folder / name, _MOST_JSON)
            for name in checkpoints:
                source.copy(name, folder / name, _MOST_CHECKPOINT)
                network.check(_load(folder / name, name, source.refuse), name)
            manifest = Manifest(
                task=task,
                network=NETWORK,
                classes=classes,
                folds=len(finished),
                origin=f"imported from {path.name}",
                metrics=_validation(source, finished, classes),
            )
            return Imported(registry.publish(folder, manifest), unfinished, ignored)


class _Source(ABC):
    """Files below one folder of a folder or zip, by their paths with ``/``."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.prefix = ""

    def refuse(self, reason: str) -> Refusal:
        """The refusal of the whole import."""
        return Refusal(f"{self.name} cannot be imported: {reason}.")

    @abstractmethod
    def find(self) -> list[str]:
        """Paths of all ``plans.json``."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file, or ``None`` where there is none."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """A file that is there."""

    def enter_results(self) -> None:
        """Go to the one folder that holds the results of a 2-D network.

        Raises:
            Refusal: there is none, or several.
        """
        folders = sorted({str(PurePosixPath(path).parent) for path in self.find()})
        if not folders:
            raise self.refuse(f"there is no {PLANS} in it, as nnU-Net writes beside its folds")
        if len(folders) > 1:
            folders = [folder for folder in folders if folder.endswith(f"__{CONFIGURATION}")]
        if len(folders) != 1:
            which = f"it holds several trainings ({', '.join(folders)})" if folders else "none of its trainings is 2-D"
            raise self.refuse(f"{which}: give the folder of the one that is meant")
        self.prefix = "" if folders[0] == "." else f"{folders[0]}/"

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file.

        Raises:
            Refusal: it is not there, too large, damaged, or holds no named values.
        """
        size = self.size(name)
        if size is None:
            raise self.refuse(f"{name} is missing")
        if size > _MOST_JSON:
            raise self.refuse(f"{name} is larger than any that nnU-Net writes")
        try:
            with self.open(name) as file:
                content = json.loads(file.read(_MOST_JSON))
        except (ValueError, RecursionError) as error:
            raise self.refuse(f"{name} is damaged") from error
        if not isinstance(content, dict):
            raise self.refuse(f"{name} is not what nnU-Net writes")
        return content

    def copy(self, name: str, target: Path, most: int) -> None:
        """Copy a file.

        Raises:
            Refusal: it is too large, or ends before its end.
        """
        size = self.size(name) or 0
        if size > most:
            raise self.refuse(f"{name} is larger than any that nnU-Net writes")
        target.parent.mkdir(exist_ok=True)
        with self.open(name) as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            copied = writer.tell()
        if copied != size:
            raise self.refuse(f"{name} is cut short")


class _Folder(_Source):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def find(self) -> list[str]:
        depths = (PLANS, f"*/{PLANS}", f"*/*/{PLANS}")  # the results, the dataset's folder, all results
        found = next((paths for depth in depths if (paths := list(self._path.glob(depth)))), [])
        return [path.relative_to(self._path).as_posix() for path in found]

    def size(self, name: str) -> int | None:
        path = self._path / self.prefix / name
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> IO[bytes]:
        return (self._path / self.prefix / name).open("rb")


class _Zip(_Source):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            parts = PurePosixPath(member.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
                raise self.refuse(f"it holds a file that would land outside its folder ({member.filename})")
            if member.filename in self._members:
                raise self.refuse(f"it holds {member.filename} twice")
            if member.flag_bits & _ENCRYPTED:
                raise self.refuse("it wants a password; unpack it and give the folder")
            if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise self.refuse("it is compressed in a way that nnU-Net does not use; unpack it and give the folder")
            self._members[member.filename] = member

    def find(self) -> list[str]:
        return [name for name in self._members if PurePosixPath(name).name == PLANS]

    def size(self, name: str) -> int | None:
        member = self._members.get(self.prefix + name)
        return None if member is None else member.file_size

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(self._members[self.prefix + name])


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        source: _Source = _Folder(path)
        source.enter_results()
        yield source
        return
    if not path.is_file():
        raise Refusal(f"There is no folder or zip {path.name}.", status=404)
    try:
        with zipfile.ZipFile(path) as archive:
            source = _Zip(path, archive)
            source.enter_results()
            yield source
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Refusal(f"{path.name} cannot be imported: it is damaged, or no zip that nnU-Net makes.") from error


def match_labels(
    dataset: Mapping[str, Any], task: str, names: Mapping[str, str], refuse: Refuse
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Find the task's structures among the labels of a dataset.json.

    Returns:
        Structure to label value, in the schema's order, and the labels that stand for no structure.

    Raises:
        Refusal: a structure is missing or meant twice, a name is unknown, or the labels are not plain numbers.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or labels.get("background") != 0:
        raise refuse(f"the labels in {DATASET} have no background of 0")
    theirs = {str(name): value for name, value in labels.items() if name not in {"background", "ignore"}}
    if any(type(value) is not int for value in theirs.values()) or dataset.get("regions_class_order"):
        raise refuse("it was trained on regions that overlap, and every voxel has one label here")
    if sorted(theirs.values()) != list(range(1, len(theirs) + 1)):
        raise refuse(f"the labels in {DATASET} do not run from 1 without gaps")
    ours = SCHEMAS[task].names
    for their, our in names.items():
        if their not in theirs:
            raise refuse(f"it knows no label {their}; it knows {', '.join(theirs)}")
        if our not in ours:
            raise refuse(f"{task} has no structure {our}; it has {', '.join(ours)}")
    meant = {their: names.get(their, their) for their in theirs}
    found = {our: [their for their, meaning in meant.items() if meaning == our] for our in ours}
    for our, candidates in found.items():
        if not candidates:
            raise refuse(f"it shows {', '.join(theirs)}; say which of them is {our}, if any, with --map LABEL={our}")
        if len(candidates) > 1:
            raise refuse(f"{' and '.join(candidates)} would both be {our}")
    classes = {our: theirs[candidates[0]] for our, candidates in found.items()}
    return classes, tuple(their for their, meaning in meant.items() if meaning not in ours)


def _find_folds(source: _Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The folds with a finished network, and those that were begun only."""
    finished = tuple(fold for fold in _FOLDS if source.size(f"fold_{fold}/{CHECKPOINT}") is not None)
    if not finished:
        everything = source.size(f"fold_all/{CHECKPOINT}") is not None
        hint = "; fold_all was trained on all cases, so nothing says how good it is" if everything else ""
        raise source.refuse(f"none of fold_0 to fold_4 is in it with a {CHECKPOINT}{hint}")
    begun = ("checkpoint_latest.pth", "checkpoint_best.pth", "debug.json")
    unfinished = tuple(
        fold
        for fold in _FOLDS
        if fold not in finished and any(source.size(f"fold_{fold}/{name}") is not None for name in begun)
    )
    return finished, unfinished


class _Network:
    """The network that plans and dataset describe, to be compared with what a checkpoint holds.

    Raises:
        Refusal: it is not a 2-D network of nnU-Net for one CT channel.
    """

    def __init__(self, plans: dict[str, Any], dataset: dict[str, Any], refuse: Refuse) -> None:
        self._refuse = refuse
        channels = dataset.get("modality", dataset.get("channel_names"))
        if not isinstance(channels, dict) or [str(name).casefold() for name in channels.values()] != ["ct"]:
            raise refuse(f"it was not trained on CT alone ({DATASET} names the channels {channels})")
        if CONFIGURATION not in plans.get("configurations", {}):
            raise refuse(f"it is no 2-D network: its {PLANS} has no configuration {CONFIGURATION}")
        try:
            manager = PlansManager(plans)
            configuration: ConfigurationManager = manager.get_configuration(CONFIGURATION)
            flat = len(configuration.patch_size) == 2
            schemes = list(configuration.normalization_schemes)
            network_class = configuration.network_arch_class_name
            arguments = configuration.network_arch_init_kwargs
            to_import = configuration.network_arch_init_kwargs_req_import
            blocks = [arguments[name] for name in to_import]
            outputs = manager.get_label_manager(dataset).num_segmentation_heads
        except Exception as error:  # depends on what is wrong in it
            raise refuse(f"its {PLANS} is damaged, or of an nnU-Net that this one does not understand") from error
        if not flat:
            raise refuse("it is no 2-D network: its patch has three axes")
        if schemes != ["CTNormalization"]:
            raise refuse(f"its images were not normalised as CT but by {', '.join(map(str, schemes))}")
        if not _NETWORK_CLASS.fullmatch(str(network_class)):
            raise refuse(f"its {PLANS} names a network that is not one of nnU-Net's ({network_class})")
        for block in blocks:
            if block is not None and not _BUILDING_BLOCK.fullmatch(str(block)):
                raise refuse(f"its {PLANS} names a part of the network that is not PyTorch's ({block})")
        try:
            with torch.device("meta"):  # for the shapes only
                network = get_network_from_plans(
                    network_class, arguments, to_import, 1, outputs, allow_init=False, deep_supervision=False
                )
        except Exception as error:  # depends on what is wrong in it
            raise refuse(f"the network in its {PLANS} cannot be built ({type(error).__name__})") from error
        self._shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}

    def check(self, checkpoint: Mapping[str, Any], name: str) -> None:
        """Compare a checkpoint with the network.

        Raises:
            Refusal: it is of another configuration, its network is another one, or its weights are no numbers.
        """
        try:
            weights = dict(checkpoint["network_weights"])
            configuration = checkpoint["init_args"]["configuration"]
            found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._refuse(f"{name} is no checkpoint of nnU-Net") from error
        if configuration != CONFIGURATION:
            raise self._refuse(f"{name} is of the configuration {configuration} and not {CONFIGURATION}")
        if found != self._shapes:
            raise self._refuse(f"the weights in {name} do not fit the network in its {PLANS} and {DATASET}")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise self._refuse(f"some weights in {name} are not finite numbers")


def _load(path: Path, name: str, refuse: Refuse) -> Mapping[str, Any]:
    """Load a checkpoint without letting it run anything; only then may others load it in the usual way."""
    try:
        _check_sums(path)
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # PyTorch has no exception of its own for what it did not allow
            raise refuse(f"{name} holds more than weights and numbers, which could run a program") from error
        raise refuse(f"{name} is damaged") from error
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError) as error:
        raise refuse(f"{name} is damaged") from error
    if not isinstance(content, dict):
        raise refuse(f"{name} is no checkpoint of nnU-Net")
    return content


def _check_sums(path: Path) -> None:
    """Compare a checkpoint with its checksums, which PyTorch writes but does not read.

    Raises:
        zipfile.BadZipFile: they differ.
    """
    if zipfile.is_zipfile(path):  # PyTorch's older format is none, and has no checksums
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise zipfile.BadZipFile(broken)


def _validation(source: _Source, folds: tuple[int, ...], classes: Mapping[str, int]) -> dict[str, Any]:
    """The cross-validation that nnU-Net wrote, without the cases' names; empty where it is not complete."""
    tables = [_read_summary(source, fold, classes) for fold in folds]
    if not all(tables):
        return {}
    metrics = cross_validation(tables, list(classes), {case: ("", "") for table in tables for case in table})
    del metrics["cases"]
    for fold, row in zip(folds, metrics["folds"], strict=True):
        row["fold"] = fold
    metrics["best_fold"] = folds[metrics["best_fold"]]
    return metrics


def _read_summary(source: _Source, fold: int, classes: Mapping[str, int]) -> FoldDice:
    """The Dice of each case that a fold was validated on; empty where nnU-Net's file is missing or another one."""
    name = f"fold_{fold}/{_SUMMARY}"
    if source.size(name) is None:
        return {}
    try:
        return {
            f"{fold}/{number}": {
                our: float(dice) if math.isfinite(dice := case["metrics"][str(value)]["Dice"]) else None
                for our, value in classes.items()
            }
            for number, case in enumerate(source.json(name)["metric_per_case"])
        }
    except (Refusal, KeyError, TypeError):  # it is not needed for answers, so a model without it is as good
        return {}
