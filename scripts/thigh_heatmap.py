"""How the volumes of thigh muscles go along with sarcopenia, from saved labels and a table of the patients.

.venv/bin/python scripts/thigh_heatmap.py --studies FOLDER --facts TABLE.csv --out FOLDER

TABLE.csv has the columns case, sex (M or F), height_m and sarcopenia (yes or no). FOLDER then holds heatmap.png and
.pdf, heatmap.csv with r and p, and volumes.csv with what they were made from, mm³/m².
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.anatomy.schemas import MUSCLE_GROUPS, THIGH_MUSCLES
from lib.disk import make_folder, write_file
from lib.images import PatientFacts, parse_facts, read_ct
from lib.images.files import read_volume
from lib.measures.sides import Side
from lib.measures.thigh import Thigh, measure_thigh
from lib.refusals import Refusal
from lib.reports.muscle_heatmap import MUSCLES, MuscleCase, draw_heatmap, heatmap_table
from lib.stores import CaseStore
from scripts.command import Stop, run_command
from scripts.serve import STUDIES

COLUMNS = ("case", "sex", "height_m", "sarcopenia")
_YES = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}


def main(arguments: Sequence[str]) -> int:
    """Measure the newest label of every case of the table, and draw.

    Raises:
        Stop: the table is wrong, or none of its cases has a label.
    """
    options = parse(arguments)
    patients = read_patients(options.facts)
    store = CaseStore(options.studies, index_url=options.index_url)
    try:
        labelled = {revision.image_id for revision in store.current_labels(THIGH_MUSCLES.task)}
        without = sorted(set(patients) - labelled)
        if without:
            print(f"No label of the thigh, left out: {', '.join(without)}.", file=sys.stderr)
        thighs = {name: _measured(store, name) for name in patients if name in labelled}
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal
    finally:
        store.close()
    if not thighs:
        raise Stop(f"None of the cases in {options.facts.name} has a label of {THIGH_MUSCLES.task}.")
    one_leg = [name for name, thigh in thighs.items() if len(thigh.sides) < len(Side)]
    if one_leg:
        print(f"Both legs are not in view, or not told apart, left out: {', '.join(one_leg)}.", file=sys.stderr)
    cut_off = Counter(name for thigh in thighs.values() for name in thigh.cut_off if name in MUSCLES)
    if cut_off:
        named = ", ".join(f"{name} ({count})" for name, count in cut_off.most_common())
        print(
            f"Cut off at an end of the image, of so many cases, and measured as far as seen: {named}.", file=sys.stderr
        )
    cases = {name: _case(thigh, *patients[name]) for name, thigh in thighs.items() if name not in one_leg}
    if not cases:
        raise Stop("No case is left to draw.")
    try:
        make_folder(options.out)
        for form in ("png", "pdf"):
            write_file(options.out / f"heatmap.{form}", draw_heatmap(list(cases.values()), form))
        write_file(options.out / "heatmap.csv", heatmap_table(list(cases.values())).encode())
        write_file(options.out / "volumes.csv", volumes_table(cases).encode())
    except OSError as error:
        raise Stop(f"{options.out} cannot be written to: {error.strerror}.") from error
    print(f"{len(cases)} cases: {options.out / 'heatmap.png'}")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="thigh_heatmap.py", description="Muscle volumes and sarcopenia, by sex.")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="folder of the server (default: %(default)s)")
    parser.add_argument("--index-url", metavar="URL", help="where its index is, if that is a database server")
    parser.add_argument("--facts", type=Path, required=True, metavar="CSV", help=f"columns: {', '.join(COLUMNS)}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    return parser.parse_args(arguments)


def read_patients(path: Path) -> dict[str, tuple[PatientFacts, bool]]:
    """Facts and diagnosis of each case of the table.

    Raises:
        Stop: it cannot be read, or a row of it is wrong; the sentence names its line.
    """
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), restval="")
    except OSError as error:
        raise Stop(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Stop(f"{path.name} is no text in UTF-8: save it as CSV UTF-8.") from error
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise Stop(f"{path.name} has no column {', '.join(missing)}: its first line has to name {', '.join(COLUMNS)}.")
    patients: dict[str, tuple[PatientFacts, bool]] = {}
    for row in rows:
        facts, wrong = parse_facts({name: row[name].strip() for name in ("sex", "height_m")})
        faults = list(wrong.values())
        faults += [f"{name} is empty." for name in COLUMNS if not row[name].strip()]
        diagnosis = _YES.get(row["sarcopenia"].strip().lower())
        if diagnosis is None and row["sarcopenia"].strip():
            faults.append(f"sarcopenia {row['sarcopenia']!r} is not possible; yes or no is.")
        if row["case"].strip() in patients:
            faults.append(f"{row['case'].strip()} is in the table twice.")
        if faults or diagnosis is None:
            raise Stop(f"Line {rows.line_num} of {path.name}: {' '.join(faults)}")
        patients[row["case"].strip()] = facts, diagnosis
    return patients


def volumes_table(cases: Mapping[str, MuscleCase]) -> str:
    """What the heat map was made from, as CSV."""
    names = (*MUSCLES, *MUSCLE_GROUPS)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["case", "sex", "sarcopenia", *names])
    for name, case in cases.items():
        volumes = ("" if (value := case.volumes[each]) is None else round(value) for each in names)
        writer.writerow([name, case.sex, "yes" if case.sarcopenia else "no", *volumes])
    return target.getvalue()


def _measured(store: CaseStore, name: str) -> Thigh:
    image = read_ct(store.get_image_uri(name))
    array = read_volume(Path(store.get_label_uri(name, THIGH_MUSCLES.task)))[0]
    return measure_thigh(image.canonical(), replace(image, hu=array).canonical().hu)


def _case(thigh: Thigh, facts: PatientFacts, diagnosis: bool) -> MuscleCase:  # noqa: FBT001
    """Volumes of both legs; what was drawn on one side only is not known."""
    assert facts.height_m is not None
    assert facts.sex is not None
    square = facts.height_m**2
    sizes = {
        each: thigh.sizes[each]["both"] if all(thigh.sizes[each][side] for side in Side) else None
        for each in (*MUSCLES, *MUSCLE_GROUPS)
    }
    # A group of which a muscle is missing is no smaller group, it is unknown.
    incomplete = {THIGH_MUSCLES[each].group for each in MUSCLES if sizes[each] is None}
    volumes = {
        each: None if size is None or each in incomplete else 1000 * size.volume_cm3 / square
        for each, size in sizes.items()
    }
    return MuscleCase(sex=facts.sex, sarcopenia=diagnosis, volumes=volumes)


if __name__ == "__main__":
    run_command(main)
