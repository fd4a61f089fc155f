"""How well a numbering fits what is known of a CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.anatomy.levels import SUCCESS_MM
from lib.levels.dataset import LabelledCT, read_sample
from lib.levels.ensemble import LevelEnsemble, Rows
from lib.levels.reading import read_levels
from lib.levels.targets import IDENTITIES, LEVELS, UNKNOWN, Targets
from lib.levels.workspace import Workspace

CLASSES = ("l3", "levels")


def judge_rows(rows: Rows, targets: Targets, z_mm: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Compare what a detector answers with the targets of the same rows.

    Args:
        rows: what the networks say.
        targets: what is known of the rows.
        z_mm: (n,) their height.

    Returns:
        ``l3_mm``: how far the inferior endplate of L3 was found from where it is, ``None`` where that is not known
        or it was not found. ``scores``, 0 to 1, higher is better, ``None`` where nothing is known: ``l3``, whether it
        was found within :data:`SUCCESS_MM`, or not found where there is none; ``levels``, the share of known
        inferior endplates that were found under their own name within that distance.
    """
    there = {level: row for level in LEVELS if (row := _known_row(targets, level)) is not None}
    found = {level: row for level, row, _ in rows.numbering.path if level in LEVELS and row > 0}
    within = [
        level in found and abs(float(z_mm[found[level]] - z_mm[row])) <= SUCCESS_MM for level, row in there.items()
    ]
    answer = read_levels(rows, z_mm, slices=int(z_mm[-1]) + 2, slice_mm=1.0).l3_slice
    mm = None if answer is None or "L3" not in there else abs(answer - float(z_mm[there["L3"]]))
    return {
        "l3_mm": mm,
        "scores": {"l3": _l3_score(answer, targets, z_mm), "levels": float(np.mean(within)) if within else None},
    }


def _l3_score(answer_mm: float | None, targets: Targets, z_mm: npt.NDArray[np.float64]) -> float | None:
    """1 where L3 was found, or rightly not; 0 where it was not, or wrongly; ``None`` where nobody knows."""
    row = _known_row(targets, "L3")
    if row is None:
        return float(answer_mm is None) if (targets.identity != UNKNOWN).all() else None
    return float(answer_mm is not None and abs(answer_mm - float(z_mm[row])) <= SUCCESS_MM)


def held_out_scores(
    folder: Path, workspace: Path, cts: Sequence[LabelledCT], *, device: str = "cpu"
) -> dict[str, dict[str, float | None]]:
    """How a version does on each CT whose patient one of its folds was held out for.

    Args:
        folder: of the version.
        workspace: the training that made the views of the CTs and was not discarded yet.
        cts: those of the training.
        device: "cpu" or "cuda".

    Returns:
        The CT's key to the ``scores`` of :func:`judge_rows`; without those whose fold is not there.

    Raises:
        Refusal: the networks cannot be opened.
    """
    ensemble, space = LevelEnsemble.open(folder, device), Workspace(workspace.resolve())
    judged = {}
    for ct in cts:
        if ct.fold in ensemble.folds:
            kept = read_sample(space.sample(ct.key))
            rows = ensemble.read_arrays(kept.frontal, kept.sagittal, [ct.fold])
            judged[ct.key] = judge_rows(rows, kept.targets, kept.z_mm)["scores"]
    return judged


def scores_of_landmarks(workspace: Path, cts: Sequence[LabelledCT]) -> dict[str, dict[str, float | None]]:
    """How the cold start does on the same CTs, in what it can be compared in.

    Args:
        workspace: see :func:`held_out_scores`.
        cts: those of the training.

    Returns:
        The CT's key to ``l3`` of :func:`judge_rows`.
    """
    space, judged = Workspace(workspace.resolve()), {}
    for ct in cts:
        kept = read_sample(space.sample(ct.key))
        answer = None if np.isnan(kept.landmarks_mm) else kept.landmarks_mm
        judged[ct.key] = {"l3": _l3_score(answer, kept.targets, kept.z_mm)}
    return judged


def l3_mm(targets: Targets, z_mm: npt.NDArray[np.float64]) -> float | None:
    """The height of the inferior endplate of L3, ``None`` where the label does not tell it."""
    row = _known_row(targets, "L3")
    return None if row is None else float(z_mm[row])


def _known_row(targets: Targets, level: str) -> int | None:
    """The row of the inferior endplate of a level, ``None`` where it is not known."""
    rows = np.flatnonzero(targets.identity == IDENTITIES.index(level))
    if level == "S1" or not len(rows) or rows[0] == 0:
        return None
    around = slice(max(0, rows[0] - 2), rows[0] + 3)
    return int(rows[0]) if np.nanmax(targets.endplate[around], initial=0.0) > 0.5 else None
