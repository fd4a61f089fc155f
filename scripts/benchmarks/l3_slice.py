"""Train the detector of L3 on phantoms, and judge it as Ha 2021 does, on phantoms that no fold has seen."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from tqdm import tqdm

from lib.anatomy.hounsfield import INTRAMUSCULAR_FAT
from lib.anatomy.levels import SUCCESS_MM
from lib.anatomy.schemas import L3_TISSUE
from lib.cold_start.levels import SpineLevels, find_levels
from lib.images import CTImage, read_ct
from lib.images.files import read_volume
from lib.infers.champions import Champion, Champions
from lib.infers.levels import Detector
from lib.models import Registry
from lib.networks.nnunet.ensemble import label_of
from lib.phantoms.cohort import TRUTH, CohortPlan, read_table
from lib.reports.cross_validation import cross_validation_table
from lib.trainers.learners import PRESETS
from lib.trainers.training import TrainOptions
from scripts.benchmarks._training import champion_of, draw_cohort

_TRAINING_SEED, _TEST_SEED = 71, 72
_TRAINING_VARIANTS, _TEST_VARIANTS = 0.35, 0.2
_NORMAL = "normal"
KINDS = (_NORMAL, "thoracolumbar", "lumbosacral", "numeric", "combined")
"""Of spines, as in Table 3 of Ha 2021."""
TISSUES = {"SMA": "skeletal_muscle", "Sfat": "l3_subcutaneous_fat", "Vfat": "visceral_fat"}
"""Their names in Ha 2021 and here."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A test phantom.

    Attributes:
        kind: one of :data:`KINDS`.
        named: the variants that the detector names.
        detector_mm: from its slice to the true one; ``None`` without an answer.
        landmarks_mm: the same of the cold start.
        areas: by name in :data:`TISSUES`, cm²: true and on the true slice; measured and on the detector's slice.
    """

    kind: str
    named: tuple[str, ...]
    detector_mm: float | None
    landmarks_mm: float | None
    areas: Mapping[str, tuple[float, float]]

    @property
    def success(self) -> bool:
        """Technical success (Ha 2021)."""
        return _within(self.detector_mm)

    def error(self, name: str) -> float:
        """CSA error (Ha 2021), a share of the true area."""
        true, measured = self.areas[name]
        return abs(true - measured) / true

    def difference(self, name: str) -> float:
        """For Bland and Altman: % of the mean of both, the true one less the measured one."""
        true, measured = self.areas[name]
        return 200 * (true - measured) / (true + measured)


def main(argv: Sequence[str]) -> int:
    """Draw what is missing, train what is not trained, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py l3-slice", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for cohorts and models; gone on with if there")
    parser.add_argument("--tissue-models", type=Path, help="folder with a champion of l3_tissue, to measure areas")
    parser.add_argument("--preset", choices=list(PRESETS), default="small", help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--train", type=int, default=300, help="torsos to train on (default: %(default)s)")
    parser.add_argument("--test", type=int, default=200, help="torsos to judge on (default: %(default)s)")
    options = parser.parse_args(argv)
    train = draw_cohort(
        options.out / "train",
        CohortPlan(
            region="torso", count=options.train, seed=_TRAINING_SEED, matrix=128, slice_mm=3.0,
            variant_share=_TRAINING_VARIANTS,
        ),
    )  # fmt: skip
    test = draw_cohort(
        options.out / "test",
        CohortPlan(
            region="torso", count=options.test, seed=_TEST_SEED, matrix=256, slice_mm=5.0, variant_share=_TEST_VARIANTS
        ),
    )
    registry = Registry(options.out / "models")
    version = champion_of("l3_slice", train, registry, TrainOptions(preset=options.preset, device=options.device))
    champion = Champions(registry).of("l3_slice")
    assert champion is not None
    tissue = None
    if options.tissue_models:
        models = Registry(options.tissue_models)
        tissue = Champions(models, models.compiled).of("l3_tissue")
    cases = [
        _judge(row, test, Detector(champion), tissue) for row in tqdm(read_table(test), unit="torso", desc="judging")
    ]
    print(f"\n### Cross-validation\n\n{cross_validation_table(version.manifest.metrics)}")
    print(f"\n### {len(cases)} torsos that no fold has seen\n\n{_distances(cases)}")
    print(f"\n### By kind of spine (as Table 3 of Ha 2021)\n\n{_kinds(cases, areas=tissue is not None)}")
    print(f"\n{_named(cases)}")
    if tissue is not None:
        print(f"\n### Areas at the true and at the found level (as Table 2 of Ha 2021)\n\n{_areas(cases)}")
    return 0


def kind_of(row: Mapping[str, str]) -> str:
    """The kind of a spine in a cohort's table."""
    found = {
        "thoracolumbar": row["rib_12"] != "normal" or row["rib_l1"] == "1",
        "lumbosacral": row["transition"] != "none",
        "numeric": row["lumbar"] != "5",
    }
    kinds = [name for name, there in found.items() if there]
    return "combined" if len(kinds) > 1 else (kinds or [_NORMAL])[0]


def _judge(
    row: Mapping[str, str], cohort: Path, detect: Callable[[CTImage], SpineLevels], tissue: Champion | None
) -> Judged:
    name = f"{row['case']}.nii.gz"
    image = read_ct(cohort / name)
    true = image.slice_from_canonical(int(row["l3_slice"]))
    upright = image.canonical()
    found, by_landmarks = detect(upright), find_levels(upright)
    slice_mm = float(upright.spacing[2])
    areas = {}
    if tissue is not None and found.l3_slice is not None:
        array, affine, _ = read_volume(cohort / TRUTH / "l3_tissue" / name)
        truth = CTImage(hu=array, affine=affine).canonical().hu[:, :, true]
        x, y = (float(mm) for mm in upright.spacing[:2])
        plane = upright.hu[:, :, found.l3_slice]
        label = label_of(tissue.ensemble.predict(plane, (x, y)))
        of_truth = _cm2(truth, upright.hu[:, :, true], upright)
        of_label = _cm2(label, plane, upright)
        areas = {each: (of_truth[each], of_label[each]) for each in TISSUES}
    return Judged(
        kind=kind_of(row),
        named=found.variants,
        detector_mm=_away_mm(found.l3_slice, true, slice_mm),
        landmarks_mm=_away_mm(by_landmarks.l3_slice, true, slice_mm),
        areas=areas,
    )


def _away_mm(found: int | None, true: int, slice_mm: float) -> float | None:
    return None if found is None else abs(found - true) * slice_mm


def _cm2(label: npt.NDArray, hu: npt.NDArray, image: CTImage) -> dict[str, float]:
    """By name in Ha 2021; as there, the fat within muscle is left out by its HU."""
    lean = np.where((label == L3_TISSUE["skeletal_muscle"].id) & INTRAMUSCULAR_FAT.contains(hu), 0, label)
    return {each: float((lean == L3_TISSUE[name].id).sum()) * image.slice_area_cm2() for each, name in TISSUES.items()}


def _within(mm: float | None) -> bool:
    return mm is not None and mm < SUCCESS_MM


def _distances(cases: Sequence[Judged]) -> str:
    lines = [
        "| | torsos | distance, mm | within 10 mm | farther | no answer |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    variants = [case for case in cases if case.kind != _NORMAL]
    for method, of in (("detector", "detector_mm"), ("cold start", "landmarks_mm")):
        for group, chosen in (("all", cases), ("variants", variants)):
            found: list[float | None] = [getattr(case, of) for case in chosen]
            known = [mm for mm in found if mm is not None]
            success = sum(_within(mm) for mm in found)
            lines.append(
                f"| {method}, {group} | {len(chosen)} | {_spread(known)} | {success / max(len(chosen), 1):.1%} | "
                f"{len(known) - success} | {len(found) - len(known)} |"
            )
    return "\n".join(lines)


def _kinds(cases: Sequence[Judged], *, areas: bool) -> str:
    names = list(TISSUES) if areas else []
    heads = [
        *(f"CSA error, %: {name}" for name in names),
        *(f"mean difference ± limits of agreement, %: {name}" for name in names),
    ]
    lines = [
        f"| spine | torsos | distance, mm | within 10 mm | {' | '.join(heads)} |",
        "| " + "--- | " * (4 + len(heads)),
    ]
    for kind in KINDS:
        chosen = [case for case in cases if case.kind == kind]
        if not chosen:
            continue
        known = [case.detector_mm for case in chosen if case.detector_mm is not None]
        measured = [case for case in chosen if case.areas]
        cells = [_spread([100 * case.error(name) for case in measured]) for name in names]
        for name in names:
            differences = np.array([case.difference(name) for case in measured])
            cells.append(
                f"{differences.mean():.1f} ± {1.96 * differences.std(ddof=1):.1f}" if len(measured) > 1 else ""
            )
        share = sum(case.success for case in chosen) / len(chosen)
        lines.append(f"| {kind} | {len(chosen)} | {_spread(known)} | {share:.1%} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{_tests(cases)}"


def _tests(cases: Sequence[Judged]) -> str:
    """Normal spines against variants, with the tests of Ha 2021."""
    groups = [
        [case for case in cases if case.kind == _NORMAL],
        [case for case in cases if case.kind != _NORMAL],
    ]
    away = stats.ttest_ind(*([case.detector_mm for case in group if case.detector_mm is not None] for group in groups))
    counts = [[sum(case.success for case in group), sum(not case.success for case in group)] for group in groups]
    said = f"Normal against variants: distance, Student's t-test, p = {away.pvalue:.2g}; "
    if not all(map(sum, zip(*counts, strict=True))):
        return said + "within 10 mm, no test: one outcome never happened."
    return said + f"within 10 mm, chi-square test, p = {stats.chi2_contingency(counts).pvalue:.2g}."


def _named(cases: Sequence[Judged]) -> str:
    normal = [case for case in cases if case.kind == _NORMAL]
    variants = [case for case in cases if case.kind != _NORMAL]
    return (
        f"A variant is named in {sum(bool(case.named) for case in variants)} of {len(variants)} spines that have one, "
        f"and in {sum(bool(case.named) for case in normal)} of {len(normal)} that have none."
    )


def _areas(cases: Sequence[Judged]) -> str:
    measured = [case for case in cases if case.areas]
    success = [case for case in measured if case.success]
    failure = [case for case in measured if not case.success]
    lines = [f"| | | {' | '.join(TISSUES)} |", f"| --- | --- | {'--- | ' * len(TISSUES)}"]
    for group, chosen in (("all", measured), ("within 10 mm", success), ("farther", failure)):
        true, mine = ({name: [case.areas[name][which] for case in chosen] for name in TISSUES} for which in (0, 1))
        errors = {name: [100 * case.error(name) for case in chosen] for name in TISSUES}
        rows: dict[str, list[str]] = {
            "true area, cm²": [_spread(true[name]) for name in TISSUES],
            "measured, cm²": [_spread(mine[name]) for name in TISSUES],
            "p, Student's t-test": [_p(true[name], mine[name]) for name in TISSUES],
            "CSA error, %": [_spread(errors[name]) for name in TISSUES],
        }
        for number, (title, cells) in enumerate(rows.items()):
            first = f"{group} ({len(chosen)})" if number == 0 else ""
            lines.append(f"| {first} | {title} | {' | '.join(cells)} |")
    errors_differ = [
        _p([case.error(name) for case in success], [case.error(name) for case in failure]) for name in TISSUES
    ]
    lines.append(f"| within against farther | p of the CSA error | {' | '.join(errors_differ)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _p(one: Sequence[float], other: Sequence[float]) -> str:
    if min(len(one), len(other)) < 2:
        return "-"
    return f"{stats.ttest_ind(one, other).pvalue:.2g}"
