"""Write docs/phantoms.md and its pictures: what the phantoms look like, beside a real CT.

.venv/bin/python scripts/make_phantom_pages.py --reference CT.nii.gz [--only SHEET ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from lib.anatomy.schemas import LabelSchema
from lib.images import CTImage, read_ct
from lib.phantoms.person import CONDITIONS, HARD_CONDITIONS, HARD_SHARE, VARIANT_SHARE, Person, Variant, draw_person
from lib.phantoms.phantom import REGIONS, Phantom
from lib.phantoms.scanner import Scanner
from lib.refusals import Refusal
from lib.reports.overlay import Panel, axial_panel, cropped, frontal_panel, sagittal_panel, write_sheet
from lib.tasks import TASKS
from scripts.command import Stop, run_command
from scripts.environment import ROOT

DOCS = ROOT / "docs"
PICTURES = DOCS / "images" / "phantoms"
REAL_TITLE = "A real CT"
REAL_SOURCE = "The real CT is a test file of TotalSegmentator (Apache-2.0), voxels of 3 mm."
FOOTER = "Digital phantoms: nobody was scanned."
_SCANNER = Scanner(matrix=384, slice_mm=4.0, noise_hu=11.0)
_SEED = 8
_WIDEST = 1400  # pixels of a picture
_PAIRS: dict[str, tuple[str, str]] = {
    "fluid": ("ascites", "oedema"),
    "enhancement": ("contrast", "kidney_on_psoas"),
    "muscle": ("thin_rectus", "myosteatosis"),
    "masses": ("tumour", "metal"),
    "posture": ("scoliosis", "arms_beside"),
    "field": ("table", "truncated"),
}
# Where a condition shows best: on the slice with most of these tissues, if not on that of L3
_SHOWN_BY: dict[str, tuple[str, ...]] = {"tumour": ("tumour",), "metal": ("metal",)}
_VARIANTS: dict[str, Variant] = {
    "Five lumbar vertebrae": Variant(),
    "Four": Variant(lumbar=4),
    "Six": Variant(lumbar=6),
    "Rib of L1": Variant(rib_l1=True),
    "Short rib of T12": Variant(rib_12="hypoplastic"),
    "No rib of T12": Variant(rib_12="absent"),
    "Lumbarisation": Variant(transition="lumbarisation"),
    "Sacralisation": Variant(transition="sacralisation"),
}


def main(arguments: Sequence[str]) -> int:
    """Draw the sheets and write the page.

    Raises:
        Stop: the reference is no CT in which L3 can be found.
    """
    parser = argparse.ArgumentParser(prog="make_phantom_pages.py", description="Write docs/phantoms.md.")
    parser.add_argument("--reference", type=Path, help="a real CT, to be shown beside the phantoms")
    parser.add_argument("--only", nargs="+", choices=list(SHEETS), help="draw these sheets only")
    options = parser.parse_args(arguments)
    try:
        real = () if options.reference is None else (_real_panel(options.reference),)
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in tqdm(options.only or SHEETS, unit="sheet"):
        sheet, columns = SHEETS[name]
        panels = [*(real if name in BESIDE_REAL else ()), *sheet()]
        footer = f"{FOOTER} {REAL_SOURCE}" if name in BESIDE_REAL and real else FOOTER
        path = PICTURES / f"{name}.png"
        write_sheet(path, [cropped(panel) for panel in panels], columns=min(columns, len(panels)))
        _finish(path, footer=footer)
    (DOCS / "phantoms.md").write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """The whole page in Markdown."""
    pictures = {name: f"![{caption}](images/phantoms/{name}.png)\n\n{caption}" for name, caption in CAPTIONS.items()}
    hard = "\n\n".join(pictures[name] for name in _PAIRS)
    return f"""{INTRODUCTION}
## Regions

{_table(("region", "from", "to", "labels of"), _region_rows())}

{CLI}
## The population

{_table(("", "men", "women"), _population_rows())}

{POPULATION.format(variants=VARIANT_SHARE, hard=HARD_SHARE)}

{pictures["population"]}

## A normal case

{pictures["normal"]}

{pictures["spine"]}

## Hard cases

Every one is a switch with a strength from 0 to 1. The pictures show one and the same body, at a strength of 0.9.

{_table(("condition", "what it is", "how often"), _condition_rows())}

{hard}

## Variants of the spine

{pictures["variants"]}

## The other regions

{pictures["thigh"]}

{pictures["torso"]}

{pictures["whole_body"]}
"""


INTRODUCTION = """# Digital phantoms

<!-- Written by scripts/make_phantom_pages.py; change the text there. -->

Patients' CTs cannot be published, and nothing can be trained or tested without labelled ones. `lib/phantoms` draws
CT-like volumes of people who do not exist, with the exact label of every task. The demo, the tests and the studies of
this project run on them on any machine.

**They are never for a patient.** A phantom is a drawing: its anatomy is simplified, and its illnesses are what somebody
thought of. What is measured on phantoms says that a program works, not how well it works on patients. A phantom
therefore says what it is: `QualityControlSubject` in DICOM, `digital phantom` in the header of a NIfTI, and the first
warning of every answer that the server gives for it.
"""

CLI = """## How to make them

```
.venv/bin/python scripts/make_phantoms.py --region abdomen --count 20 --seed 1 --out FOLDER
```

| option | what it does |
| --- | --- |
| `--format dicom` | a folder with a DICOM series for each case instead of a NIfTI file |
| `--matrix N`, `--slice-mm MM` | the size of the voxels; by chance if left out |
| `--conditions ascites=0.8,table` | what everybody has; by chance if left out, `none` for nothing |
| `--hard-share SHARE` | the share of people with a hard condition, when they are left to chance |
| `--variant-share SHARE` | the share of people with an anatomic variant of the spine |
| `--without-labels` | no labels |
| `--finished` | also saves the labels as final ones, for a server that trains on the folder |
| `--workers N` | processes that draw at once |

`FOLDER` then holds the images, `truth/TASK/CASE.nii.gz` with the labels in their geometry, and `cohort.csv` with the
facts: person, variant, conditions, scanner, where the endplate of L3 lies, and the areas there. A server shows the
cases with `--studies FOLDER`, not labelled yet. Ctrl-C stops; the same command goes on where it stopped. The same seed
gives the same voxels on every machine.

In Python:

```python
from lib.phantoms.phantom import Phantom

phantom = Phantom(seed=1, region="torso", conditions={"ascites": 0.8})
phantom.image.hu, phantom.image.affine
phantom.label("body_composition")
phantom.person, phantom.levels, phantom.l3_slice
```
"""

POPULATION = """Mean and standard deviation of 2,000 people. Muscle fades with age and grows with weight, fat comes with
weight and age, and the weight follows from both. {variants:.1%} have an anatomic variant of the spine, as often as in
Ha 2021; {hard:.0%} have at least one rare condition that makes a case hard (`--hard-share`)."""

CAPTIONS: dict[str, str] = {
    "population": "Six people by chance, on the slice of the inferior endplate of L3.",
    "normal": "The slice of L3 beside a real one, and its labels.",
    "spine": "Frontal and sagittal, with the vertebral levels; the line is the inferior endplate of L3.",
    **{
        name: f"A real CT, the phantom without a condition, and with {first.replace('_', ' ')} ({CONDITIONS[first]}) "
        f"and {second.replace('_', ' ')} ({CONDITIONS[second]})."
        for name, (first, second) in _PAIRS.items()
    },
    "variants": "From the front, ribs and vertebrae seen through each other; the levels from L1 to S1 are coloured.",
    "thigh": "Thighs from below the hip to above the knee, and their muscles.",
    "torso": "A torso from the front and the side, and its levels from the head down.",
    "whole_body": "A whole body with its seven tissues.",
}
BESIDE_REAL = ("normal", *_PAIRS)


def _region_rows() -> Iterator[tuple[str, ...]]:
    def landmark(name: str) -> str:
        return name.replace("_", " ")

    for name, region in REGIONS.items():
        tasks = ", ".join(f"`{task}`" for task in region.tasks)
        bottom = "the same: one slice" if region.single else landmark(region.bottom[0])
        yield f"`{name}`", landmark(region.top[0]), bottom, tasks


def _condition_rows() -> Iterator[tuple[str, ...]]:
    people = _people()
    for name, meaning in CONDITIONS.items():
        share = np.mean([person.strength(name) > 0 for person in people])
        yield f"`{name}`" + (" (rare)" if name in HARD_CONDITIONS else ""), meaning, f"{share:.0%}"


def _population_rows() -> Iterator[tuple[str, ...]]:
    rows: dict[str, tuple[Callable[[Person], float], int]] = {
        "age, years": (lambda person: person.age_years, 0),
        "height, m": (lambda person: person.height_m, 2),
        "body mass index, kg/m²": (lambda person: person.bmi, 1),
        "skeletal muscle index at L3, cm²/m²": (lambda person: person.muscle_cm2 / person.height_m**2, 0),
        "visceral fat at L3, cm²": (lambda person: person.visceral_fat_cm2, 0),
        "subcutaneous fat at L3, cm²": (lambda person: person.subcutaneous_fat_cm2, 0),
        "muscles of both thighs half way down, cm²": (lambda person: person.thigh_muscle_cm2, 0),
        "muscle, HU": (lambda person: person.muscle_hu, 0),
    }
    for what, (value, digits) in rows.items():
        columns = [np.array([value(person) for person in _people() if person.sex == sex]) for sex in "MF"]
        yield what, *(f"{column.mean():.{digits}f} ± {column.std():.{digits}f}" for column in columns)


@cache
def _people() -> tuple[Person, ...]:
    return tuple(draw_person(np.random.Generator(np.random.PCG64([seed, 1]))) for seed in range(2000))


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (tuple(head), ("---",) * len(head), *rows))


# The sheets. A patient's right is at the left of the picture.


def _phantom(region: str = "abdomen", conditions: Mapping[str, float] | None = None, **person: Variant) -> Phantom:
    who = Person(sex="M", age_years=61, **person)  # type: ignore[arg-type]
    return Phantom(_SEED, region, person=who, conditions=conditions or {}, scanner=_SCANNER)


def _real_panel(path: Path) -> Panel:
    image = read_ct(path).canonical()
    index = TASKS["l3_muscle"].answer(image).slice_index
    assert index is not None
    return axial_panel(image, index, title=REAL_TITLE)


@cache
def _normal() -> tuple[Phantom, CTImage, int]:
    """The body of all pictures of the abdomen, its image and the slice of L3, both in canonical order."""
    phantom = _phantom()
    return phantom, phantom.image.canonical(), phantom.image.slice_from_canonical(phantom.l3_slice)


def _schema(task: str) -> LabelSchema:
    return TASKS[task].schema


def _label(phantom: Phantom, task: str) -> npt.NDArray[np.uint8]:
    return _canonical(phantom, phantom.label(task))


def _canonical(phantom: Phantom, array: npt.NDArray) -> npt.NDArray:
    image = phantom.image
    return CTImage(hu=array.astype(np.int16), affine=image.affine).canonical().hu.astype(np.uint8)


def _normal_sheet() -> list[Panel]:
    phantom, image, index = _normal()
    labelled = (
        axial_panel(image, index, title=task, label=_label(phantom, task), schema=_schema(task))
        for task in ("l3_muscle", "l3_tissue", "body_composition")
    )
    return [axial_panel(image, index, title="A phantom"), *labelled]


def _spine_sheet() -> list[Panel]:
    phantom, image, index = _normal()
    label = _label(phantom, "l3_slice")
    x, y, _ = _voxel(image, phantom.l3_endplate_mm)
    frontal = frontal_panel(image, y, title="Frontal", label=label, schema=_schema("l3_slice"), line=index)
    return [frontal_panel(image, y, title="Frontal"), frontal, sagittal_panel(image, x, title="Sagittal", line=index)]


def _pair_sheet(pair: tuple[str, str]) -> list[Panel]:
    _, image, index = _normal()
    panels = [axial_panel(image, index, title="A phantom")]
    for name in pair:
        phantom = _phantom(conditions={name: 0.9})
        seen = phantom.image.canonical()
        title = name.replace("_", " ")
        if name == "scoliosis":
            _, y, _ = _voxel(seen, phantom.l3_endplate_mm)
            panels.append(frontal_panel(seen, y, title=title))
            continue
        panels.append(axial_panel(seen, _shown_at(phantom, name), title=title))
    return panels


def _shown_at(phantom: Phantom, condition: str) -> int:
    """The slice, in canonical order, on which a condition shows."""
    if condition in _SHOWN_BY:
        there = _canonical(phantom, phantom.structure(*_SHOWN_BY[condition])).sum(axis=(0, 1), dtype=np.int64)
        if there.any():
            return int(there.argmax())
    return phantom.image.slice_from_canonical(phantom.l3_slice)


def _population_sheet() -> list[Panel]:
    panels = []
    for seed in range(_SEED, _SEED + 6):
        phantom = Phantom(seed, "abdomen", scanner=replace(_SCANNER, slice_mm=7.0))
        person, image = phantom.person, phantom.image
        index = image.slice_from_canonical(phantom.l3_slice)
        who = "man" if person.sex == "M" else "woman"
        has = ", ".join(name.replace("_", " ") for name in person.conditions) or "nothing"
        title = f"{who}, {person.age_years:.0f} years, BMI {person.bmi:.0f}\n{has}"
        panels.append(axial_panel(image.canonical(), index, title=title))
    return panels


def _variant_sheet() -> list[Panel]:
    panels = []
    for title, variant in _VARIANTS.items():
        phantom = _phantom(variant=variant)
        image, label, schema = phantom.image.canonical(), _label(phantom, "l3_slice"), _schema("l3_slice")
        label[label < schema["vertebra_L1"].id] = 0
        x, _, z = image.spacing
        # bones alone, seen through the body: the window ends at 250 HU
        through = np.clip((image.hu.max(axis=1).astype(np.int32) - 150) // 2, -150, 250)
        panels.append(Panel(hu=through, spacing=(x, z), title=title, label=label.max(axis=1), schema=schema))
    return panels


def _thigh_sheet() -> list[Panel]:
    phantom = _phantom("thigh")
    image, label = phantom.image.canonical(), _label(phantom, "thigh_muscles")
    top, bottom = phantom.frame.heights["hip"], phantom.frame.heights["knee"]
    panels: list[list[Panel]] = [[], []]
    for share in (0.08, 0.3, 0.55, 0.8):
        z = (top + share * (bottom - top)) * phantom.frame.height_scale
        index = _voxel(image, (0, 0, z))[2]
        panels[0].append(axial_panel(image, index, title=f"{share:.0%} of the way from hip to knee"))
        panels[1].append(axial_panel(image, index, title="", label=label, schema=_schema("thigh_muscles")))
    return [*panels[0], *panels[1]]


def _torso_sheet() -> list[Panel]:
    phantom = _phantom("torso")
    image = phantom.image.canonical()
    x, y, _ = _voxel(image, phantom.l3_endplate_mm)
    panels = [frontal_panel(image, y, title="Frontal, through L3"), sagittal_panel(image, x, title="Sagittal")]
    for level in ("T2", "T5", "T8", "T11", "L1", "S1"):
        vertebra = phantom.frame.vertebrae[level]
        index = _voxel(image, (0, 0, vertebra.z * phantom.frame.height_scale))[2]
        panels.append(axial_panel(image, index, title=level))
    return panels


def _whole_body_sheet() -> list[Panel]:
    phantom = _phantom("whole_body")
    image, label = phantom.image.canonical(), _label(phantom, "body_composition")
    x, y, _ = _voxel(image, phantom.l3_endplate_mm)
    schema = _schema("body_composition")
    return [
        frontal_panel(image, y, title="Frontal"),
        frontal_panel(image, y, title="body_composition", label=label, schema=schema),
        sagittal_panel(image, x, title="Sagittal"),
    ]


SHEETS: dict[str, tuple[Callable[[], list[Panel]], int]] = {
    "normal": (_normal_sheet, 5),
    "spine": (_spine_sheet, 3),
    "population": (_population_sheet, 3),
    **{name: ((lambda pair=pair: _pair_sheet(pair)), 4) for name, pair in _PAIRS.items()},
    "variants": (_variant_sheet, 4),
    "thigh": (_thigh_sheet, 4),
    "torso": (_torso_sheet, 4),
    "whole_body": (_whole_body_sheet, 3),
}


def _voxel(image: CTImage, point: tuple[float, float, float]) -> tuple[int, int, int]:
    """The voxel at a point in RAS+ world mm."""
    i, j, k = (np.linalg.inv(image.affine) @ [*point, 1])[:3].round().astype(int)
    return int(i), int(j), int(k)


def _finish(path: Path, *, footer: str) -> None:
    """Write a line below a picture, and make it small enough for a repository."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, round(picture.height * _WIDEST / picture.width)), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (picture.width, picture.height + 26), "white")
    page.paste(picture)
    middle = (page.width / 2, picture.height + 10)
    ImageDraw.Draw(page).text(middle, footer, fill="black", font=ImageFont.load_default(size=14), anchor="mm")
    red, green, blue = (np.asarray(band) for band in page.split())
    if np.array_equal(red, green) and np.array_equal(red, blue):
        page = page.convert("L")
    page.save(path, optimize=True)


if __name__ == "__main__":
    run_command(main)
