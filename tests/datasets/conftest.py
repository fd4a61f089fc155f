"""Small stores of oblique CTs with labels, and folders as others lay them out."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.images.files import read_volume
from lib.stores import CaseStore
from tests.stores.conftest import AFFINE, SHAPE


def flipped(affine, shape, axis):
    """The affine of the same place when an axis of the array is reversed."""
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, shape[axis] - 1
    return affine @ flip


GEOMETRIES = {
    "ann": AFFINE,
    "ben": flipped(AFFINE, SHAPE, 2),
    "cat": AFFINE[:, [2, 0, 1, 3]],  # the first axis of the array runs along the body
}


def write_nifti(path: Path, array, affine) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def ct(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)


def drawn(values, axis=2, shape=SHAPE):
    """A label with these values in bars on the fourth slice of an axis."""
    label = np.zeros(shape, np.uint8)
    plane = np.moveaxis(label, axis, 0)[3]
    for number, value in enumerate(values):
        plane[1:4, 3 * number : 3 * number + 2] = value
    return label


def save(store, image_id, label, *, affine, tmp_path, task="l3_muscle", **info):
    path = write_nifti(tmp_path / "submitted.nii.gz", label, affine)
    store.save_label(image_id, str(path), "final", {"task": task, "user": f"dr {image_id}", **info})


@pytest.fixture
def labelled(tmp_path):
    """Three cases of different orders of voxels; a partial label, a complete one, one said to be complete."""
    studies = tmp_path / "from"
    for seed, (name, affine) in enumerate(GEOMETRIES.items()):
        write_nifti(studies / f"{name}.nii.gz", ct(seed), affine)
    store = CaseStore(studies)
    save(
        store, "ann", drawn([1]), affine=GEOMETRIES["ann"], tmp_path=tmp_path, model="l3_muscle", model_version="v0002"
    )
    save(store, "ben", drawn([1, 2, 3]), affine=GEOMETRIES["ben"], tmp_path=tmp_path)
    save(store, "cat", drawn([1, 2], axis=0), affine=GEOMETRIES["cat"], tmp_path=tmp_path, complete=True)
    save(store, "ann", drawn([1, 3, 4]), affine=GEOMETRIES["ann"], tmp_path=tmp_path, task="l3_slice")
    store.update_image_info("ann", {"sex": "F", "height_m": 1.6, "patient": "P1"})
    yield store
    store.close()


@pytest.fixture
def empty(tmp_path):
    studies = tmp_path / "to"
    studies.mkdir()
    return studies


def contents(store):
    """What makes two stores the same: images and labels with who, when from, and what is judged."""
    found = {}
    for task in STORED_SCHEMAS:
        for each in store.current_labels(task):
            array, affine, shape = read_volume(each.path)
            image, own, _ = read_volume(Path(store.get_image_uri(each.image_id)))
            found[each.image_id, task] = (
                *(each.author, each.model, each.model_version, each.partial, each.names, each.sha256, shape),
                *(array.tobytes(), affine.tobytes(), image.tobytes(), own.tobytes()),
                *(store.patient(each.image_id), store.case_facts(each.image_id)),
            )
    return found
