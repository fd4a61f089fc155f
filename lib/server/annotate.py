"""What the panel in OHIF asks beyond MONAI Label's endpoints: tasks with their colours, a case's grid and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from monailabel.config import RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.images import read_ct
from lib.images.files import read_volume
from lib.measures.drawn_slices import measure_drawn
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.geometry import read_grid
from lib.stores.stored_tasks import stored_tasks
from lib.tasks import ANSWERING_TASKS, TASKS, TRAINABLE_TASKS

router = APIRouter(prefix="/annotate", tags=["Annotate"], responses={404: {"description": "Not found"}})

_SLICE = 2
_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


@router.get("/tasks", summary=f"{RBAC_USER}The tasks, with the names and colours of what they label")
def tasks(user: _Reader) -> dict[str, Any]:  # noqa: ARG001 (checks who asks)
    """Every task with its structures, and the strategies by which a next case is chosen."""
    strategies = app_instance().info()["strategies"]
    return {
        "tasks": [
            {
                "name": task.name,
                "description": task.description,
                "on_slice": task.on_slice,
                "answers": task.name in ANSWERING_TASKS,
                "trainable": task.name in TRAINABLE_TASKS,
                "stored_as": list(stored_tasks(task.name)),
                "structures": [
                    {"name": each.name, "id": each.id, "color": list(each.color), "definition": each.definition}
                    for each in task.schema.shown
                ],
            }
            for task in TASKS.values()
        ],
        "strategies": [{"name": name, "description": told["description"]} for name, told in strategies.items()],
    }


@router.get("/cases/{name}", summary=f"{RBAC_USER}A case: its grid, its labels, and why it was handed out")
def case(name: str, user: _Reader, who: str = "") -> dict[str, Any]:
    """What the panel shows of a case.

    Args:
        name: the case's id, or the SeriesInstanceUID under which it is shown.
        user: who asks.
        who: who asks, where nobody logs in.

    Returns:
        ``id``; ``grid`` with ``shape``, ``affine`` (voxel indices to RAS+ mm) and ``axis``, the one from foot to head;
        ``facts``, what is known of the patient; ``labels``, the current final one of every task that this person may
        see; ``hand_outs``, those of this person that have not ended.

    Raises:
        Refusal: 404 for an unknown case; 422 for one that cannot be read.
    """
    store = _store()
    image_id = store.case_id(name)
    grid = read_grid(Path(store.get_image_uri(image_id)))
    asks = user.username if settings.MONAI_LABEL_AUTH_ENABLE else who.strip()
    handed = [each for each in store.hand_outs(image_id) if each.ended is None and each.holder == asks]
    current = {task: store.current_revision(image_id, task) for task in STORED_SCHEMAS}
    return {
        "id": image_id,
        "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist(), "axis": grid.foot_to_head_axis},
        "facts": vars(store.case_facts(image_id)),
        "labels": [
            {
                "task": task,
                "revision": revision.number,
                "author": revision.author,
                "created": revision.created.isoformat(timespec="seconds"),
                "names": list(revision.names),
                "partial": revision.partial,
                "warnings": list(revision.warnings),
            }
            for task, revision in current.items()
            # Whoever labels a case for the second time must not see the first label.
            if revision is not None and not store.is_blind(task, image_id, asks)
        ],
        "hand_outs": [each.to_json() for each in handed],
    }


@router.get("/cases/{name}/measurements/{task}", summary=f"{RBAC_USER}The measurements of a saved label")
def measurements(name: str, task: str, user: _Reader) -> dict[str, Any]:  # noqa: ARG001
    """Measure the current final label of a task.

    Raises:
        Refusal: 404 when there is none.
    """
    store = _store()
    image_id = store.case_id(name)
    revision = store.current_revision(image_id, task)
    if revision is None:
        raise Refusal(f"{image_id} has no label {task}.", status=404)
    image = read_ct(store.get_image_uri(image_id))
    label, _, _ = read_volume(revision.path)
    found = measure_drawn(image, label, STORED_SCHEMAS[task], on_slices=TASKS[task].dimension == _SLICE)
    return {
        "task": task,
        "revision": revision.number,
        "measurements": [{"slice_index": each.slice_index, "regions": each.to_json()} for each in found],
    }


def _store() -> CaseStore:
    return app_instance().datastore()  # type: ignore[no-any-return]
