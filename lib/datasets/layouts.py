"""Which layout a folder of labelled cases has."""

from __future__ import annotations

from pathlib import Path

from lib.datasets import bids, dicom_folder, nnunet_raw, pairs, totalsegmentator
from lib.datasets.found import Found
from lib.refusals import Refusal

LAYOUTS = (bids.LAYOUT, nnunet_raw.LAYOUT, totalsegmentator.LAYOUT, pairs.LAYOUT, dicom_folder.LAYOUT)


def layout_of(root: Path) -> str:
    """The layout of a folder.

    Raises:
        Refusal: it has none of those that are known.
    """
    if not root.is_dir():
        raise Refusal(f"There is no folder {root}.", status=404)
    if bids.is_bids(root):
        return bids.LAYOUT
    if nnunet_raw.is_nnunet(root):
        return nnunet_raw.LAYOUT
    if totalsegmentator.is_totalsegmentator(root):
        return totalsegmentator.LAYOUT
    if pairs.is_pairs(root):
        return pairs.LAYOUT
    if dicom_folder.is_dicom_folder(root):
        return dicom_folder.LAYOUT
    raise Refusal(f"{root} has none of the layouts that are known: {', '.join(LAYOUTS)}.")


def find(root: Path, layout: str, *, task: str | None = None) -> Found:
    """The cases in a folder of NIfTI files.

    Args:
        root: the folder.
        layout: its layout; that of DICOM is taken in by :mod:`lib.datasets.dicom_folder`.
        task: see :func:`lib.datasets.pairs.find_pairs`.

    Raises:
        Refusal: what describes the cases cannot be read.
    """
    if layout == bids.LAYOUT:
        return bids.find_bids(root)
    if layout == nnunet_raw.LAYOUT:
        return nnunet_raw.find_nnunet(root)
    if layout == totalsegmentator.LAYOUT:
        return totalsegmentator.find_totalsegmentator(root)
    return pairs.find_pairs(root, task=task)
