"""The table of results: one row for each case, its columns always in the same order."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.anatomy.cutoffs import CUTOFFS, Level
from lib.anatomy.schemas import TOGETHER, LabelSchema
from lib.disk import write_file
from scripts.analysis.sources import Case

if TYPE_CHECKING:
    from lib.images import CTImage
    from lib.infers.segmentation import Analysis

TABLE = "analysis.csv"
OVERLAYS = "overlays"
ANALYSED, FAILED = "analysed", "failed"
_CASE = (
    "case", "file", "series", "status", "reason", "phantom", "sex", "age_years", "height_m", "weight_kg", "contrast",
)  # fmt: skip
_SLICE = (
    "level", "slice_index", "z_mm", "level_confidence", "level_method", "level_model_version", "level_variants",
    "level_convention", "level_candidates", "method", "model_versions", "doubt",
)  # fmt: skip
_END = ("not_judged", "warnings", "overlay", "seconds")
_OF_ANY = ("area_cm2", "mean_hu", "sd_hu")
_OF_MUSCLE = ("muscle_range_area_cm2", "muscle_range_mean_hu", "muscle_range_sd_hu", "intramuscular_fat_area_cm2")
_INDICES = ("smi_cm2_m2", "bmi_kg_m2")
_CALLS = tuple(cutoff.name for cutoff in CUTOFFS if cutoff.level is Level.L3)
_OPTION = re.compile(r"\(params\.(\w+)\)")
"""How a warning of the server says where a missing fact can be given."""


def columns(schema: LabelSchema) -> tuple[str, ...]:
    """The columns for a task on one slice, in their order; docs/analysis.md says what they mean."""
    together = {
        name: all(schema[part].is_muscle for part in parts)
        for name, parts in TOGETHER.items()
        if name not in schema and all(part in schema for part in parts)
    }
    regions = {structure.name: structure.is_muscle for structure in schema} | together
    regions["total"] = all(structure.is_muscle for structure in schema)
    measured = [
        f"{name}_{key}" for name, is_muscle in regions.items() for key in (*_OF_ANY, *(_OF_MUSCLE if is_muscle else ()))
    ]
    return (*_CASE, *_SLICE, *measured, *_INDICES, *_CALLS, *_END)


def analysed_row(case: Case, image: CTImage, analysis: Analysis) -> dict[str, Any]:
    """The row of a case that was answered; it lacks the seconds."""
    params, facts = analysis.params, analysis.facts
    measurements = params["measurements"]
    row = _naming(case) | {
        "status": ANALYSED,
        "phantom": "yes" if facts.phantom else "no",
        "contrast": {True: "yes", False: "no", None: ""}[facts.contrast],
        **{name: getattr(facts, name) for name in ("sex", "age_years", "height_m", "weight_kg")},
        **{name: params.get(name) for name in ("level", "slice_index", "level_confidence", "method")},
        **{name: params.get(name) for name in ("level_method", "level_model_version", "level_convention")},
        "level_variants": "; ".join(params.get("level_variants", ())),
        "level_candidates": "; ".join(
            f"slice {each['slice_index']}: {each['reading']}" for each in params.get("level_candidates", ())
        ),
        "z_mm": round(_height_mm(image, params["slice_index"]), 1),
        "model_versions": params["model_version"],
        "doubt": params["uncertainty"]["score"],
        **measurements["indices"],
        **{call["cutoff"]: call["statement"] for call in measurements["calls"] if call["cutoff"] in _CALLS},
        "not_judged": "; ".join(
            f"{each['cutoff']}: {each['reason']}" for each in measurements["not_judged"] if each["cutoff"] in _CALLS
        ),
        "warnings": _OPTION.sub(r"(--facts, column \1)", " ".join(params["warnings"])),
        "overlay": f"{OVERLAYS}/{case.id}.png",
    }
    for name, numbers in measurements["regions"].items():
        row |= {f"{name}_{key}": number for key, number in numbers.items()}
    return row


def failed_row(case: Case, reason: str) -> dict[str, Any]:
    """The row of a case that could not be answered."""
    return _naming(case) | {"status": FAILED, "reason": reason}


def write_table(folder: Path, schema: LabelSchema, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows, in one step that leaves the old table or the new one.

    Raises:
        OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(schema), restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    # With its mark of UTF-8, Excel reads it as that.
    write_file(folder / TABLE, text.getvalue().encode("utf-8-sig", "replace"))


def _naming(case: Case) -> dict[str, Any]:
    return {"case": case.id, "file": str(case.path), "series": case.series}


def _height_mm(image: CTImage, slice_index: int) -> float:
    """The height of the middle of a slice in the scanner's coordinates, head up."""
    middle = [(size - 1) / 2 for size in image.shape]
    middle[image.foot_to_head_axis] = slice_index
    return float((image.affine @ [*middle, 1.0])[2])


def _cell(value: Any) -> Any:
    """A text that a spreadsheet takes for a text, also where a file's name begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
