"""Training one fold of the detector: samples, their augmentation, and the loss on what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from lib.levels.network import ANCHORS
from lib.levels.targets import IDENTITIES, RIB, UNKNOWN, Targets

ROWS = 384
"""Rows of a training sample: 768 mm, with what is missing left empty."""
_LEAST_ROWS = 30
_WHOLE = 0.3
_WEIGHTS = {
    "identity": 1.0, "endplate": 1.0, "superior": 0.5, "counted": 1.0, "rib": 1.0, "anchors": 0.3, "crest": 0.3,
    "transitional": 1.0,
}  # fmt: skip
_ENDPLATES_ARE_RARE = 4.0
_TRANSITIONS_ARE_RARE = 8.0
_RIBS_AS_EXPECTED = {"T12": "normal", "L1": "none"}
"""Where ribs tell something: those of the other vertebrae follow from their number."""
_JUNCTION, _VARIANT = 4.0, 12.0
"""How much a row there weighs, with ribs as expected and with others, against 1 elsewhere."""
_NEARLY_ALL = 0.9
_BELLS = [1, 2]
"""Of the targets: inferior and superior endplates."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One CT with its label, as tensors.

    Attributes:
        frontal: (2, n, 96) float32.
        sagittal: (2, n, 56) float32.
        targets: (6, n) float32: identity, endplate, superior, rib, crest, transitional; NaN where not known.
    """

    frontal: torch.Tensor
    sagittal: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, frontal: npt.NDArray, sagittal: npt.NDArray, targets: Targets) -> Sample:
        """From arrays."""
        classes = [
            np.where(each == UNKNOWN, np.nan, each) for each in (targets.identity, targets.rib, targets.transitional)
        ]
        identity, rib, transitional = classes
        rows = np.stack([identity, targets.endplate, targets.superior, rib, targets.crest, transitional])
        return cls(
            frontal=torch.from_numpy(frontal.astype(np.float32)),
            sagittal=torch.from_numpy(sagittal.astype(np.float32)),
            targets=torch.from_numpy(rows.astype(np.float32)),
        )


def batches(samples: Sequence[Sample], size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
    """Augmented batches (frontal, sagittal, targets) without end, every sample once in each round."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += torch.randperm(len(samples), generator=generator).tolist()
        chosen, waiting = waiting[:size], waiting[size:]
        made = [augmented(samples[i], generator) for i in chosen]
        yield tuple(torch.stack(each) for each in zip(*made, strict=True))


def augmented(sample: Sample, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Another part of the same spine, of a larger or smaller person, in another image.

    Returns:
        Views and targets of :data:`ROWS` rows.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    n = sample.frontal.shape[1]
    stretch = draw(0.87, 1.15)
    longest = min(n, int(ROWS / stretch))
    wanted = longest if draw(0, 1) < _WHOLE else int(draw(min(_LEAST_ROWS, longest), longest))
    first = int(draw(0, n - wanted + 0.999))
    count = min(ROWS, int(wanted * stretch))
    place = first + (torch.arange(count) + 0.5) * (wanted / count) - 0.5
    offset = int(draw(0, ROWS - count + 0.999))

    lean, blur = draw(-0.06, 0.06), draw(0, 1.6)
    mirror = draw(0, 1) < 0.5
    views = []
    for view, across in ((sample.frontal, 2.5), (sample.sagittal, 1.5)):
        width = view.shape[2]
        columns = (torch.arange(width) - (width - 1) / 2) / draw(0.92, 1.08) + (width - 1) / 2 + draw(-across, across)
        slanted = columns[None, :] + lean * (torch.arange(count) - count / 2)[:, None] * (0.3 if across < 2 else 0.5)
        grid = torch.stack(
            [2 * slanted / (width - 1) - 1, (2 * place / max(1, n - 1) - 1)[:, None].expand(count, width)], dim=-1
        )
        moved = functional.grid_sample(view[None], grid[None], padding_mode="zeros", align_corners=True)[0]
        views.append(_blurred(moved, blur))
    frontal, sagittal = views
    if mirror:
        frontal = frontal.flip(2)
    if draw(0, 1) < 0.25:  # a narrow field of view
        cut = int(draw(0, 28))
        frontal[:, :, :cut] = 0
        frontal[:, :, frontal.shape[2] - cut :] = 0
    gain, shift, noise = draw(0.8, 1.25), draw(-0.06, 0.06), draw(0, 0.04)
    made = []
    for view in (frontal, sagittal):
        changed = (view * gain + shift + noise * torch.randn(view.shape, generator=generator)).clamp(0.001, 1.0)
        full = torch.zeros(2, ROWS, view.shape[2])
        full[:, offset : offset + count] = torch.where(view > 0, changed, view)
        made.append(full)
    targets = torch.full((len(sample.targets), ROWS), torch.nan)
    moved_targets = sample.targets[:, place.round().long().clamp(0, n - 1)]
    low = place.floor().long().clamp(0, n - 1)
    between = torch.lerp(
        sample.targets[_BELLS][:, low], sample.targets[_BELLS][:, (low + 1).clamp(max=n - 1)], (place - low).clamp(0, 1)
    )
    # An endplate stays as wide as it was, so that counting endplates by their sum stays counting.
    moved_targets[_BELLS] = between ** ((count / wanted) ** 2)
    targets[:, offset : offset + count] = moved_targets
    return made[0], made[1], targets


def _blurred(view: torch.Tensor, sigma: float) -> torch.Tensor:
    """Along the rows, as in thicker slices."""
    if sigma < 0.4:
        return view
    reach = int(3 * sigma) + 1
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (bell / bell.sum())[None, None, :, None]
    padded = functional.pad(view[:, None], (0, 0, reach, reach), mode="replicate")
    return functional.conv2d(padded, weights)[:, 0]


def loss_of(found: dict[str, torch.Tensor], targets: torch.Tensor, frontal: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weighted parts of the loss, each a mean over the rows of which it is known.

    Args:
        found: what :class:`lib.levels.network.LevelNet` gives.
        targets: (b, 6, n).
        frontal: (b, 2, n, 96), what the network saw.
    """
    identity, endplate, superior, rib, crest, transitional = targets.unbind(1)
    seen = frontal.amax(dim=(1, 3)) > 0
    parts = {
        "identity": _classes(found["identity"], identity, torch.ones_like(identity)),
        "rib": _classes(found["rib"], rib, _rib_weights(rib, identity)),
        "endplate": _heat(found["endplate"], endplate, _ENDPLATES_ARE_RARE),
        "superior": _heat(found["superior"], superior, _ENDPLATES_ARE_RARE),
        "counted": _heat(found["counted"], endplate, 1.0),
        "crest": _heat(found["crest"], crest, _ENDPLATES_ARE_RARE),
        "transitional": _heat(found["transitional"], transitional, _TRANSITIONS_ARE_RARE),
        "anchors": _anchors(found["anchors"], identity, seen),
    }
    return {name: _WEIGHTS[name] * part for name, part in parts.items()}


def _rib_weights(rib: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
    weights = torch.ones_like(rib)
    for level, kind in _RIBS_AS_EXPECTED.items():
        there = identity == IDENTITIES.index(level)
        weights[there] = _JUNCTION
        weights[there & (rib != RIB.index(kind))] = _VARIANT
    return weights


def _classes(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    known = ~target.isnan()
    if not known.any():
        return logits.sum() * 0
    every = functional.cross_entropy(logits.transpose(1, 2)[known], target[known].long(), reduction="none")
    return (every * weights[known]).sum() / weights[known].sum()


def _heat(logits: torch.Tensor, target: torch.Tensor, weight: float) -> torch.Tensor:
    known = ~target.isnan()
    if not known.any():
        return logits.sum() * 0
    wanted = target[known]
    every = functional.binary_cross_entropy_with_logits(logits[:, 0][known], wanted, reduction="none")
    return (every * (1 + (weight - 1) * wanted)).mean()


def _anchors(log_probability: torch.Tensor, identity: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How surely each anchor is placed where it is, or nowhere in an image whose rows are (nearly) all known."""
    parts = [log_probability.sum() * 0]
    known = (~identity.isnan() & seen).sum(1) / seen.sum(1).clamp(min=1)
    for number, name in enumerate(ANCHORS):
        rows = identity == IDENTITIES.index(name)
        for one, there, share in zip(log_probability[:, number], rows, known, strict=True):
            if there.any():
                parts.append(-one[1:][there].logsumexp(0))
            elif share >= _NEARLY_ALL:
                parts.append(-one[0])
    return torch.stack(parts).sum() / max(1, len(parts) - 1)
