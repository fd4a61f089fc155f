"""The table of results: one row for each case, its columns always in the same order."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.anatomy.cutoffs import CUTOFFS, Level
from lib.anatomy.schemas import BODY_COMPOSITION, TOGETHER, LabelSchema
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
_OF_BODY = ("method", "model_versions", "doubt")
_INDICES_OF_BODY = ("waist_smi_cm2_m2", "waist_bfi_cm2_kg", "torso_smi_cm3_m2", "torso_bfi_cm3_kg", "bmi_kg_m2")
_CALLS_OF_BODY = tuple(cutoff.name for cutoff in CUTOFFS if cutoff.level is Level.WAIST)
_OPTION = re.compile(r"\(params\.(\w+)\)")
"""How a warning of the server says where a missing fact can be given."""


def columns(schema: LabelSchema) -> tuple[str, ...]:
    """The columns for a task, in their order; docs/analysis.md says what they mean."""
    if schema is BODY_COMPOSITION:
        return _columns_of_body()
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


def _columns_of_body() -> tuple[str, ...]:
    keys = ("volume_cm3", "mean_hu", "sd_hu")
    of_muscle = tuple(key.replace("area_cm2", "volume_cm3") for key in _OF_MUSCLE)
    classes = [f"{s.name}_{key}" for s in BODY_COMPOSITION for key in (*keys, *(of_muscle if s.is_muscle else ()))]
    sizes = (*BODY_COMPOSITION.names, "body_fat")
    waist = ["waist_first_slice", "waist_last_slice", "waist_length_cm", *(f"waist_{name}_cm2" for name in sizes)]
    torso = ["torso_first_slice", "torso_last_slice", "torso_missing", *(f"torso_{name}_cm3" for name in sizes)]
    body = (*classes, *waist, "waist_circumference_cm", *torso, "body_surface_m2", "not_measured")
    return (*_CASE, *_OF_BODY, *body, *_INDICES_OF_BODY, *_CALLS_OF_BODY, *_END)


def _cells_of_body(measurements: Mapping[str, Any]) -> dict[str, Any]:
    """What only a label of body composition gives."""
    waist, torso = measurements["waist"], measurements["torso"]
    cells: dict[str, Any] = {
        "body_surface_m2": measurements["body_surface_m2"],
        "not_measured": " ".join(measurements["not_measured"].values()),
    }
    if waist:
        cells |= dict(zip(("waist_first_slice", "waist_last_slice"), waist["slices"], strict=True))
        cells |= {f"waist_{name}_cm2": area for name, area in waist["area_cm2"].items()}
        cells |= {f"waist_{name}": waist[name] for name in ("length_cm", "circumference_cm")}
    if torso:
        cells |= dict(zip(("torso_first_slice", "torso_last_slice"), torso["slices"], strict=True))
        cells |= {f"torso_{name}_cm3": volume for name, volume in torso["volume_cm3"].items()}
        cells["torso_missing"] = " and ".join(torso["missing"])
    return cells


def analysed_row(case: Case, image: CTImage, analysis: Analysis) -> dict[str, Any]:
    """The row of a case that was answered; it lacks the seconds."""
    params, facts = analysis.params, analysis.facts
    measurements = params["measurements"]
    judged = _CALLS_OF_BODY if "waist" in measurements else _CALLS
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
        "model_versions": params["model_version"],
        "doubt": params["uncertainty"]["score"],
        **measurements["indices"],
        **{call["cutoff"]: call["statement"] for call in measurements["calls"] if call["cutoff"] in judged},
        "not_judged": "; ".join(
            f"{each['cutoff']}: {each['reason']}" for each in measurements["not_judged"] if each["cutoff"] in judged
        ),
        "warnings": _OPTION.sub(r"(--facts, column \1)", " ".join(params["warnings"])),
        "overlay": f"{OVERLAYS}/{case.id}.png",
    }
    if params["slice_index"] is not None:
        row["z_mm"] = round(_height_mm(image, params["slice_index"]), 1)
    if "waist" in measurements:
        row |= _cells_of_body(measurements)
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
