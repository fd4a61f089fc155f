"""What is known of images and labels, in the dictionaries that MONAI Label's clients read."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.stores.index import CASES, REVISIONS
from lib.stores.records import UNINTERPRETED, Revision

IMAGE_COLUMNS = [CASES.c[name] for name in ("id", "file", "suffix", "added", "info", "facts")]
SHORT_LABEL_COLUMNS = [
    REVISIONS.c[name]
    for name in ("case_id", "task", "number", "tag", "author", "client_id", "model", "created", "file", "partial")
]


def image_info(case: Row) -> dict[str, Any]:
    """The info of an image: what DICOM said, what was added, when it came, and its name with the suffix."""
    info = {} if case.facts == "{}" else json.loads(case.facts)
    if case.info != "{}":
        info.update(json.loads(case.info))
    info["ts"] = int(case.added)
    info["name"] = case.file if case.suffix else f"{case.id}.nii.gz"
    return info  # type: ignore[no-any-return]


def label_info(revision: Revision) -> dict[str, Any]:
    """The info of a label, with the ids that its file really holds in place of the client's own numbering."""
    info = {
        **revision.info,
        "ts": int(revision.created.timestamp()),
        "name": revision.path.name,
        "task": revision.task,
        "revision": revision.number,
        "author": revision.author,
        "client_id": revision.client_id,
        "model": revision.model,
        "model_version": revision.model_version,
        "sha256": revision.sha256,
        "names": list(revision.names),
        "partial": revision.partial,
        "warnings": list(revision.warnings),
    }
    if revision.task != UNINTERPRETED:
        params = revision.info.get("params")
        ids = STORED_SCHEMAS[revision.task].ids
        info["params"] = {**(params if isinstance(params, dict) else {}), "label_names": ids}
        info["label_info"] = [{"name": name, "idx": value} for name, value in ids.items()]
    return info


def short_label(row: Row) -> dict[str, Any]:
    """A label in the listing of the whole store, which Slicer downloads at every next sample."""
    name = row.file.rpartition("/")[2]
    info = {
        "ts": int(row.created),
        "name": name,
        "task": row.task,
        "revision": row.number,
        "author": row.author,
        "client_id": row.client_id,
        "model": row.model,
        "partial": row.partial,
    }
    if row.task != UNINTERPRETED:
        info["params"] = {"label_names": STORED_SCHEMAS[row.task].ids}
    return {"ext": name[name.index(".") :], "info": info}
