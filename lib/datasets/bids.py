"""A folder like BIDS: images of subjects and sessions, labels as derivatives; BIDS itself knows no CT of a body."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib import VERSION
from lib.anatomy.schemas import STORED_SCHEMAS
from lib.datasets.chosen import Chosen, description_of, write_image
from lib.datasets.found import Found, FoundCase, FoundLabel, merged
from lib.datasets.provenance import Provenance, provenance_of, read_provenance, write_provenance
from lib.disk import make_folder, write_file, write_json
from lib.refusals import Refusal

LAYOUT = "bids"
_BIDS_VERSION = "1.9.0"
_DESCRIPTION, _OWN, _LABEL = "dataset_description.json", "sarcopenia_label", "_dseg.nii.gz"
_SEGMENTED = re.compile(r"(?P<case>.+?)(_space-[A-Za-z0-9]+)?(_desc-[A-Za-z0-9]+)?_dseg\.nii\.gz")


def write_bids(root: Path, labels: Sequence[Chosen]) -> list[Provenance]:
    """Write ``sub-PATIENT/ses-CASE/ct``, and ``derivatives/sarcopenia_label`` with labels, their names and provenance.

    Raises:
        OSError: the disk is full or gone.
        Refusal: an image cannot be read.
    """
    rows = []
    about: dict[str, dict[str, str]] = {}
    patients = _entities(chosen.patient for chosen in labels)
    sessions = _entities(chosen.revision.image_id for chosen in labels)
    derived = root / "derivatives" / _OWN
    for chosen in labels:
        subject, session = f"sub-{patients[chosen.patient]}", f"ses-{sessions[chosen.revision.image_id]}"
        about.setdefault(subject, dict(chosen.facts))
        task, name = chosen.revision.task, f"{subject}_{session}"
        image = root / subject / session / "ct" / f"{name}_ct.nii.gz"
        write_image(chosen, image)
        label = derived / subject / session / "ct" / f"{name}_desc-{task.replace('_', '')}{_LABEL}"
        make_folder(label.parent)
        shutil.copyfile(chosen.revision.path, label)
        stem = label.name.removesuffix(".nii.gz")
        write_file(label.with_name(f"{stem}.tsv"), _lookup(task).encode())
        row = provenance_of(chosen.revision, root=root, label=label, image=image, facts=chosen.facts)
        sidecar = {
            "Manual": not row.model and not row.dataset,
            "Sources": [f"bids:raw:{image.relative_to(root).as_posix()}"],
            **{key.capitalize(): getattr(row, key) for key in ("case", "task", "revision", "author", "saved", "model")},
            "Partial": row.is_partial,
        }
        write_json(label.with_name(f"{stem}.json"), sidecar)
        rows.append(row)
    described = {"Name": "Sarcopenia Label export", "BIDSVersion": _BIDS_VERSION}
    write_json(root / _DESCRIPTION, {**described, "DatasetType": "raw", "Description": description_of(labels)})
    made_by = [{"Name": "Sarcopenia Label", "Version": VERSION}]
    write_json(derived / _DESCRIPTION, {**described, "DatasetType": "derivative", "GeneratedBy": made_by})
    write_file(root / "participants.tsv", _participants(about).encode())
    write_provenance(root, rows)
    return rows


def is_bids(root: Path) -> bool:
    """Whether a folder is laid out like this."""
    return (root / _DESCRIPTION).is_file() and (root / "derivatives").is_dir()


def find_bids(root: Path) -> Found:
    """The CTs and the derived segmentations whose names of values lie beside them as TSV.

    Raises:
        Refusal: a segmentation has no such TSV, or one that cannot be read.
    """
    known = read_provenance(root)
    facts = _read_participants(root / "participants.tsv")
    cases: list[FoundCase] = []
    labels: dict[str, list[FoundLabel]] = {}
    for file in sorted((root / "derivatives").glob(f"*/sub-*/**/*{_LABEL}")):
        match = _SEGMENTED.fullmatch(file.name)
        row = known.get(file.relative_to(root).as_posix())
        case = match["case"] if match else file.name
        labels.setdefault(case, []).append(FoundLabel(file=file, names=_names(file), provenance=row))
    images = {path.name.removesuffix("_ct.nii.gz"): path for path in sorted(root.glob("sub-*/**/*_ct.nii.gz"))}
    for case in sorted({*images, *labels}):
        row = next((label.provenance for label in labels.get(case, ()) if label.provenance), None)
        subject = case.split("_")[0].removeprefix("sub-")
        cases.append(
            FoundCase(
                name=row.case if row else case,
                image=images.get(case),
                labels=tuple(labels.get(case, ())),
                facts=row.facts if row else {"patient": subject, **facts.get(f"sub-{subject}", {})},
            )
        )
    name = _read_json(root / _DESCRIPTION).get("Name") or root.name
    return Found(layout=LAYOUT, dataset=str(name), root=root, cases=merged(cases))


def _entities(names: Any) -> dict[str, str]:
    """Letters and digits of each name, as BIDS wants them; where two would be the same, a digest tells them apart."""
    plain = {name: re.sub(r"[^A-Za-z0-9]", "", name) for name in names}
    shared = [text.lower() for text in plain.values()]
    return {
        name: text
        if text and shared.count(text.lower()) == 1
        else f"{text}{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, text in plain.items()
    }


def _lookup(task: str) -> str:
    rows = [f"{s.id}\t{s.name}\t#{bytes(s.color).hex().upper()}" for s in STORED_SCHEMAS[task]]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def _participants(about: dict[str, dict[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["participant_id", "sex", "age"])
    for subject, facts in about.items():
        writer.writerow([subject, facts.get("sex", "n/a"), facts.get("age_years", "n/a")])
    return text.getvalue()


def _read_participants(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        row["participant_id"]: {
            name: row[column]
            for name, column in (("sex", "sex"), ("age_years", "age"))
            if row.get(column) and row[column] != "n/a"
        }
        for row in rows
        if row.get("participant_id")
    }


def _names(file: Path) -> dict[int, str]:
    path = file.with_name(file.name.replace(".nii.gz", ".tsv"))
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return {int(row["index"]): row["name"] for row in rows if int(row["index"])}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Refusal(f"{path.name} beside {file.name} does not say what its values mean (index, name).") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{path.name} cannot be read as JSON.") from error
    return content if isinstance(content, dict) else {}
