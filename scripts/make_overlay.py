"""Draw what the cold start finds on a CT: the L3 slice, its muscle and fat, and the whole body.

python scripts/make_overlay.py CT.nii.gz --out docs/images/l3_overlay.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.images import read_ct
from lib.refusals import Refusal
from lib.reports.overlay import axial_panel, frontal_panel, write_sheet
from lib.tasks import TASKS


def main(argv: list[str] | None = None) -> int:
    """Write the picture; 1 with a sentence when the CT does not allow it."""
    parser = argparse.ArgumentParser(description="Draw what the cold start finds on a CT.")
    parser.add_argument("image", type=Path, help="a CT: NIfTI, NRRD or a folder of DICOM")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write (.png, .svg, .pdf)")
    arguments = parser.parse_args(argv)
    try:
        image = read_ct(arguments.image).canonical()
        muscle = TASKS["l3_muscle"].answer(image)
        tissue = TASKS["l3_tissue"].answer(image, muscle.slice_index)
        body = TASKS["body_composition"].answer(image)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    index = muscle.slice_index
    assert index is not None
    # The frontal plane through the vertebral bodies, a finger's breadth in front of the middle of the muscles' depth.
    depth = int((muscle.label[:, :, index] == TASKS["l3_muscle"].schema.ids["psoas"]).nonzero()[1].mean())
    title = f"Slice {index}, {muscle.level or 'level not checked'}"
    panels = [
        axial_panel(image, index, title=title),
        axial_panel(image, index, title="l3_muscle", label=muscle.label, schema=TASKS["l3_muscle"].schema),
        axial_panel(image, index, title="l3_tissue", label=tissue.label, schema=TASKS["l3_tissue"].schema),
        frontal_panel(
            image,
            depth,
            title="body_composition",
            label=body.label,
            schema=TASKS["body_composition"].schema,
            line=index,
        ),
    ]
    write_sheet(arguments.out, panels, columns=2, footer="Cold start, no trained model. For research use only.")
    print(f"Wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
