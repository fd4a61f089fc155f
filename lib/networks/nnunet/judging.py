"""How well a version does on the slices of a training, each answered by the fold that never saw its patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.measures.overlap import dice
from lib.networks.labels import UNJUDGED
from lib.networks.nnunet.dataset import Slice, read_slice
from lib.networks.nnunet.ensemble import Ensemble, label_of
from lib.networks.nnunet.workspace import Workspace
from lib.refusals import Refusal


def held_out_dice(
    results: Path,
    values: Mapping[str, int],
    workspace: Path,
    slices: Sequence[Slice],
    classes: Mapping[str, int],
    *,
    engine: str = "auto",
    cache: Path | None = None,
) -> dict[str, dict[str, float | None]]:
    """Dice of an ensemble on each slice whose patient one of its folds was held out for.

    Predicted and compared as nnU-Net validates a fold: with mirroring, in the slice's own geometry, without what nobody
    judged.

    Args:
        results: a results folder with its folds.
        values: class to the value that stands for it in the answer of these networks.
        workspace: the training that wrote the slices and was not discarded yet.
        slices: those of the training.
        classes: class to value in the slices' labels.
        engine: one of :data:`lib.networks.engines.ENGINES`.
        cache: folder for what the engine compiles.

    Returns:
        Slice's key to class to Dice (``None`` where neither holds the class); without the slices whose fold is not
        there.

    Raises:
        Refusal: the networks cannot be opened or run.
    """
    space = Workspace(workspace.resolve())
    with _faults_of(results):
        ensemble = Ensemble(results, engine=engine, cache=cache)
        ids = np.zeros(1 + max(ensemble.classes.values()), np.uint8)
        for name, value in values.items():
            ids[value] = classes[name]
    judged = {}
    for item in sorted(slices, key=lambda each: each.fold):  # a fold is compiled once
        if item.fold not in ensemble.folds:
            continue
        hu, spacing, label = read_slice(space, item, classes)
        with _faults_of(results):
            found = ids[label_of(ensemble.predict(hu, spacing, folds=[item.fold], mirroring=True))]
        known = label != UNJUDGED
        judged[item.key] = dice(found[known], label[known], dict(classes))
    return judged


@contextmanager
def _faults_of(results: Path) -> Iterator[None]:
    """Say in one sentence what PyTorch or OpenVINO do not like about networks."""
    try:
        yield
    except (RuntimeError, LookupError, ValueError, TypeError, OSError, MemoryError) as error:
        raise Refusal(f"The networks of {results.name} cannot be run ({type(error).__name__}: {error}).") from error
