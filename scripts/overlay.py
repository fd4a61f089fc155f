"""A picture of a CT with labels over it: axial slices from head to foot, a frontal and a sagittal slice.

.venv/bin/python scripts/overlay.py CT LABEL [LABEL ...] --task body_composition --out PICTURE.png

Each LABEL is a file with the values of the task's classes, drawn in a block of its own, so that two may be compared;
``TITLE=FILE`` says what stands above it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import SCHEMAS, LabelSchema
from lib.disk import write_file
from lib.images import CTImage, read_ct
from lib.images.files import image_suffix, read_volume
from lib.refusals import Refusal
from lib.reports.montage import draw_montage
from scripts.command import Stop, run_command

_PHANTOM = "A digital phantom: nobody was scanned."


def main(arguments: Sequence[str]) -> int:
    """Read, draw and write.

    Raises:
        Stop: a file cannot be read or written, or a label does not fit the CT or the task.
    """
    options = parse(arguments)
    schema = SCHEMAS[options.task].shown
    try:
        image = read_ct(options.ct)
        labels = {title: _label(image, path, schema) for title, path in map(_titled, options.labels)}
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    caption = " ".join(filter(None, [options.caption, _PHANTOM if image.facts.phantom else ""]))
    picture = draw_montage(image.canonical(), labels, schema, in_file=image, slices=options.slices, caption=caption)
    try:
        write_file(options.out, picture)
    except OSError as error:
        raise Stop(f"{options.out} cannot be written: {error.strerror}.") from error
    print(f"{options.out}: {len(picture) / 1000:.0f} kB")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="overlay.py", description="A picture of a CT with labels over it.")
    parser.add_argument("ct", type=Path, metavar="CT", help="NIfTI, NRRD, or a folder with one DICOM series")
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="NIfTI or NRRD, or TITLE=FILE")
    parser.add_argument("--task", choices=list(SCHEMAS), default="body_composition", help="(default: %(default)s)")
    parser.add_argument("--slices", type=_count, default=12, help="axial slices of each label (default: %(default)s)")
    parser.add_argument("--caption", default="", help="a line below, such as where the CT comes from")
    parser.add_argument("--out", type=Path, required=True, metavar="PICTURE.png", help="what to write")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of slices")
    return int(text)


def _titled(given: str) -> tuple[str, Path]:
    """What stands above a label, and its file; without a title the name of the file."""
    title, equals, path = given.partition("=")
    if equals:
        return title, Path(path)
    name = Path(given).name
    return name.removesuffix(image_suffix(name)), Path(given)


def _label(image: CTImage, path: Path, schema: LabelSchema) -> npt.NDArray:
    """A label in canonical order.

    Raises:
        Stop: it is of another shape than the CT, or holds what is no class.
    """
    array = read_volume(path)[0]
    if array.shape != image.shape:
        raise Stop(f"{path.name} has the shape {array.shape} and the CT {image.shape}: it is of another image.")
    if wrong := set(np.unique(array).tolist()) - {0, *schema.ids.values()}:
        raise Stop(f"{path.name} holds the value {min(wrong)}, which is no class of {schema.task}.")
    return replace(image, hu=array).canonical().hu


if __name__ == "__main__":
    run_command(main)
