"""The version that a training starts from: what is taken over from it, and whether it can be."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from lib.disk import write_json
from lib.networks.nnunet.workspace import CHECKPOINT, CONFIGURATION, DATASET, Workspace
from lib.networks.workspace import Run
from lib.refusals import Refusal

_log = logging.getLogger(__name__)


def take_over_plans(workspace: Workspace, parent: Path, run: Run) -> None:
    """Take the plans, and with them normalisation, grid and network, from the version to start from.

    That is one that was trained here: the names and values of its classes are compared with the task's own, so an
    imported one that numbers or names them in its own way is refused.

    Raises:
        Refusal: it has other classes, no 2-D network, or a file that cannot be read.
    """
    plans, dataset = _read_json(parent / "plans.json"), _read_json(parent / "dataset.json")
    classes = {n: i for n, i in dataset.get("labels", {}).items() if n not in {"background", "ignore"}}
    if classes != dict(run.classes):
        raise Refusal(
            f"The model to start from knows {', '.join(classes) or 'no classes'} and this task has "
            f"{', '.join(run.classes)}: train from scratch instead."
        )
    if CONFIGURATION not in plans.get("configurations", {}):
        raise Refusal("The model to start from has no 2-D network: train from scratch instead.")
    for fold in range(run.folds):
        _check_weights(parent / f"fold_{fold}" / CHECKPOINT)
    # The network stays as it is; only where the dataset lies and who reads its NIfTI are this training's own.
    plans.update(dataset_name=DATASET, image_reader_writer="SimpleITKIO")
    fingerprint = parent / "dataset_fingerprint.json"
    properties = "foreground_intensity_properties_per_channel"
    content = _read_json(fingerprint) if fingerprint.is_file() else {properties: plans[properties]}
    write_json(workspace.preprocessed / fingerprint.name, content)
    write_json(workspace.plans, plans)


def _check_weights(path: Path) -> None:
    if not path.is_file():
        raise Refusal(f"The model to start from has no {path.parent.name}: train from scratch instead.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
        usable = isinstance(content["network_weights"], dict)
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
        _log.warning("%s cannot be read: %r", path, error)
        usable = False
    if not usable:
        raise Refusal(
            f"The model to start from is damaged: {path.parent.name}/{path.name} cannot be read. "
            "Choose another version, or train from scratch."
        )


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Refusal(f"The model to start from is damaged: {path.name} cannot be read.") from error
    if not isinstance(content, dict):
        raise Refusal(f"The model to start from is damaged: {path.name} is not what nnU-Net writes.")
    return content
