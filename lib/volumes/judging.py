"""How well networks do on labelled CTs that they were not trained on, in the CT's own geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lib.measures.overlap import overlaps
from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.volumes.dataset import KeptVolume, LabelledVolume, read_volume
from lib.volumes.ensemble import VolumeEnsemble
from lib.volumes.workspace import Workspace

Judged = dict[str, dict[str, float | None]]
"""``dice``, ``sensitivity`` and ``ppv`` to class to value; ``None`` where it says nothing."""


def judge_volume(ensemble: VolumeEnsemble, kept: KeptVolume, fold: int) -> Judged:
    """Compare a fold's answer with the label, without what nobody judged (Lee 2021, section 2.6)."""
    found = ensemble.segment(np.ascontiguousarray(kept.hu), kept.spacing, [fold]).label
    known = kept.truth != UNJUDGED
    by_class = {
        name: asdict(each) for name, each in overlaps(found[known], kept.truth[known], ensemble.classes).items()
    }
    return {
        measure: {name: values[measure] for name, values in by_class.items()}
        for measure in ("dice", "sensitivity", "ppv")
    }


def held_out_dice(
    folder: Path,
    workspace: Path,
    volumes: Sequence[LabelledVolume],
    *,
    engine: str = "auto",
    cache: Path | None = None,
) -> Mapping[str, Mapping[str, float | None]]:
    """Dice of a version on each CT whose patient one of its folds was held out for.

    Args:
        folder: of the version.
        workspace: the training that keeps the CTs and was not discarded yet.
        volumes: those of that training.
        engine: one of :data:`lib.networks.engines.ENGINES`.
        cache: folder for what the engine compiles.

    Returns:
        The CT's key to class to Dice; without those whose fold is not there.

    Raises:
        Refusal: the networks cannot be opened or run.
    """
    ensemble, space = VolumeEnsemble(folder, engine=engine, cache=cache), Workspace(workspace.resolve())
    recipe, judged = space.current().recipe, {}
    for volume in sorted(volumes, key=lambda each: each.fold):  # a fold is compiled once
        if volume.fold not in ensemble.folds:
            continue
        kept = read_volume(space.sample(volume.key, recipe))
        try:
            judged[volume.key] = judge_volume(ensemble, kept, volume.fold)["dice"]
        except (RuntimeError, ValueError, MemoryError) as error:
            raise Refusal(f"The networks of {folder.name} cannot be run ({type(error).__name__}: {error}).") from error
    return judged
