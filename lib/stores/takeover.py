"""Labels of an existing MONAI Label folder (``datastore_v2.json``, ``labels/TAG/``); its files stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.images.files import image_suffix
from lib.refusals import Refusal
from lib.stores.names import check_name
from lib.stores.plain import plain

_INDEX = "datastore_v2.json"


@dataclass(frozen=True, kw_only=True)
class OldLabel:
    """A label file of the older store.

    Attributes:
        image_id: the case it belongs to.
        tag: the name of the folder it lies in.
        path: the file.
        file: its path relative to the studies folder, with ``/``.
        suffix: of the file, as MONAI Label took it.
        info: what the older store knew of it.
    """

    image_id: str
    tag: str
    path: Path
    file: str
    suffix: str
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class OldStore:
    """What ``datastore_v2.json`` holds, as far as it can be read.

    Attributes:
        name: of the older store, or "".
        description: of the older store, or "".
        images: info of each image.
        labels: every label file, also those that the JSON does not name.
        warnings: what could not be read.
    """

    name: str = ""
    description: str = ""
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: tuple[OldLabel, ...] = ()
    warnings: tuple[str, ...] = ()


def read_old_store(studies: Path) -> OldStore:
    """Read the older store of a studies folder; empty where there is none."""
    content: dict[str, Any] = {}
    warnings: list[str] = []
    if (studies / _INDEX).is_file():
        try:
            content = json.loads((studies / _INDEX).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("no object")  # noqa: TRY004 - treated like any other damage
        except (OSError, ValueError) as error:
            warnings.append(f"{_INDEX} cannot be read ({error}); labels are taken over without their info.")
            content = {}
    objects = content.get("objects") if isinstance(content.get("objects"), dict) else {}
    labels_folder = studies / str(content.get("labels_dir") or "labels")
    labels = tuple(_labels(studies, labels_folder, objects or {})) if labels_folder.is_dir() else ()
    return OldStore(
        name=str(content.get("name") or ""),
        description=str(content.get("description") or ""),
        images={id_: _info(entry.get("image")) for id_, entry in (objects or {}).items() if isinstance(entry, dict)},
        labels=labels,
        warnings=tuple(warnings),
    )


def _labels(studies: Path, folder: Path, objects: dict[str, Any]) -> Iterator[OldLabel]:
    named = {
        (tag, f"{image_id}{label.get('ext', '')}"): (image_id, label)
        for image_id, entry in objects.items()
        if isinstance(entry, dict) and isinstance(entry.get("labels"), dict)
        for tag, label in entry["labels"].items()
        if isinstance(label, dict)
    }
    for tag in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        for entry in sorted(os.scandir(folder / tag), key=lambda entry: entry.name):
            if not entry.is_file() or entry.name.startswith("."):
                continue
            image_id, label = named.get((tag, entry.name), (None, {}))
            if image_id is None:
                suffix = image_suffix(entry.name)
                image_id = entry.name[: len(entry.name) - len(suffix)]
                if suffix == ".nrrd" and image_id.lower().endswith(".seg"):
                    image_id, suffix = image_id[: -len(".seg")], ".seg.nrrd"
                if not suffix:
                    continue
            else:
                suffix = str(label.get("ext", ""))
            try:
                check_name(image_id, what="image id")
            except Refusal:
                continue  # a hidden or ill-named file that MONAI Label could not have served either
            path = Path(entry.path)
            yield OldLabel(
                image_id=image_id,
                tag=tag,
                path=path,
                file=(path.relative_to(studies) if path.is_relative_to(studies) else path).as_posix(),
                suffix=suffix,
                info=_info(label),
            )


def _info(entry: object) -> dict[str, Any]:
    info = entry.get("info") if isinstance(entry, dict) else None
    return plain(info) if isinstance(info, dict) else {}
