"""The vertebral levels of a CT and the slice through the inferior endplate of L3, without a trained model."""

from __future__ import annotations

from dataclasses import dataclass

from lib.images.ct import CTImage

NOT_CHECKED = "The image has one slice, so its vertebral level was not checked."


@dataclass(frozen=True, kw_only=True)
class VertebralLevel:
    """One vertebra in view.

    Attributes:
        name: such as "L3".
        superior: the superior endplate at the centre of the body as a slice position along the foot-to-head axis of
            ``CTImage.canonical()`` (0 = lowest slice, fractions between slices); ``None`` where it is out of view.
        inferior: the inferior endplate, in the same way.
        superior_mm: the superior endplate in mm above the lowest slice.
        inferior_mm: the inferior endplate in mm above the lowest slice.
    """

    name: str
    superior: float | None
    inferior: float | None
    superior_mm: float | None
    inferior_mm: float | None


@dataclass(frozen=True, kw_only=True)
class SpineLevels:
    """What is known of the levels of one image.

    Attributes:
        levels: the vertebrae in view from head to foot; empty where they cannot be numbered.
        l3_slice: the slice through the inferior endplate of L3 (Ha 2021) along the foot-to-head axis of
            ``CTImage.canonical()``, 0 = lowest; ``None`` where it cannot be told.
        confidence: 0 to 1.
        candidates: what else could be L3: the reading in words and its slice, the likeliest first.
        warnings: plain sentences that say what speaks against the answer.
    """

    levels: tuple[VertebralLevel, ...]
    l3_slice: int | None
    confidence: float
    candidates: tuple[tuple[str, int], ...] = ()
    warnings: tuple[str, ...] = ()


def find_levels(image: CTImage) -> SpineLevels:
    """Find the vertebral levels of a CT from its bones.

    Args:
        image: a volume or a single slice in any orientation, HU. A single slice is taken as the L3 slice, with the
            warning that nothing was checked.

    Returns:
        The levels, and the slice of the inferior endplate of L3 or ``None``.
    """
    if image.canonical().shape[2] == 1:
        return SpineLevels(levels=(), l3_slice=0, confidence=0.0, warnings=(NOT_CHECKED,))
    return SpineLevels(
        levels=(), l3_slice=None, confidence=0.0, warnings=("The vertebral levels cannot be told from this image.",)
    )
