"""The tissue table: every kind of voxel that a phantom is made of, its HU, and its label in every task.

All labels of a phantom come from one volume of tissues through this table, so they agree with each other by
construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import STORED_SCHEMAS, task_of

CERVICAL = tuple(f"C{i}" for i in range(1, 8))
THORACIC = tuple(f"T{i}" for i in range(1, 13))
LUMBAR = tuple(f"L{i}" for i in range(1, 7))
RIBS = range(1, 14)
"""Ribs are numbered with their vertebra; 13 is the rudimentary rib of L1."""
SIDES = ("left", "right")


@dataclass(frozen=True)
class Tissue:
    """A kind of voxel.

    Attributes:
        name: unique.
        id: its value in the tissue volume.
        hu: mean HU on a non-contrast scan at 120 kVp.
        enhanced: mean HU in the portal venous phase.
        texture: the kind of pattern on top of the mean: "plain", "muscle", "fat", "marrow", "cortex", "stool", "lung".
        labels: the names of the structures, of any task, that it belongs to.
    """

    name: str
    id: int
    hu: float
    enhanced: float
    texture: str
    labels: tuple[str, ...]


_ROWS: list[tuple[str, float, float, str, tuple[str, ...]]] = []


def _row(name: str, hu: float, enhanced: float | None, texture: str, *labels: str) -> None:
    unknown = [label for label in labels if task_of(label) is None]
    if unknown:
        raise ValueError(f"tissue {name}: no schema has {unknown}")
    _ROWS.append((name, hu, hu if enhanced is None else enhanced, texture, labels))


def _muscles(*names: str, labels: tuple[str, ...] = ()) -> None:
    for name in names:
        thigh = (name,) if name in STORED_SCHEMAS["thigh_muscles"] else ()
        _row(name, 55, 62, "muscle", "muscle", *labels, *(label for label in thigh if label not in labels))


_BONE = "bone"
_ORGAN = "internal_organs_and_vessels"
_L3 = "skeletal_muscle"

# Outside and cover
_row("air", -1000, None, "plain")
_row("skin", 10, 25, "plain", "skin")
_row("subcutaneous_fat", -104, None, "fat", "subcutaneous_fat", "l3_subcutaneous_fat")
_row("arm_fat", -104, None, "fat", "subcutaneous_fat")
_row("breast", 25, 35, "plain", _ORGAN)

# Fat within and between muscles, and inside the rib cage, counts as subcutaneous in Lee 2021; none of it is l3_tissue
_row("intermuscular_fat", -95, None, "fat", "subcutaneous_fat")
_row("intrathoracic_fat", -98, None, "fat", "subcutaneous_fat")
_row("peritoneal_fat", -102, None, "fat", "abdominal_visceral_fat", "visceral_fat")
_row("retroperitoneal_fat", -102, None, "fat", "abdominal_visceral_fat", "visceral_fat")

# The muscles of the L3 slice
_muscles("psoas_major", labels=("psoas", _L3))
_muscles("erector_spinae", "multifidus", "quadratus_lumborum", labels=("paraspinal", _L3))
_muscles("external_oblique", "internal_oblique", labels=("abdominal_wall", _L3, "abdominal_oblique"))
_muscles("transversus_abdominis", labels=("abdominal_wall", _L3))
_muscles("rectus_abdominis", labels=("abdominal_wall", _L3))

# Other muscles of the trunk, the neck, the shoulder and the arm
_muscles(
    "latissimus_dorsi", "trapezius", "rhomboids", "serratus", "pectoralis", "intercostals", "diaphragm", "neck_muscle",
    "deltoid", "rotator_cuff", "upper_arm_flexors", "upper_arm_extensors", "forearm_muscle", "masticatory_muscle",
    "pelvic_floor", "calf_extensors", "calf_flexors", "foot_muscle",
)  # fmt: skip
_row("submandibular_gland", 45, 80, "plain", "muscle")
_row("peripheral_vessel", 42, 130, "plain", "muscle")

# Hip and thigh
_muscles(
    "iliacus", "iliopsoas", "gluteus_maximus", "gluteus_medius", "gluteus_minimus", "tensor_fasciae_latae",
    "piriformis", "obturator_internus", "obturator_externus", "quadratus_femoris", "sartorius", "rectus_femoris",
    "vastus_lateralis", "vastus_intermedius", "vastus_medialis", "adductor_magnus", "adductor_brevis",
    "adductor_longus", "gracilis", "pectineus", "semitendinosus", "semimembranosus", "biceps_femoris",
)  # fmt: skip

# Abdominal and pelvic organs
_row("liver", 58, 108, "plain", _ORGAN)
_row("gallbladder", 8, 10, "plain", _ORGAN)
_row("spleen", 50, 118, "plain", _ORGAN)
_row("pancreas", 40, 95, "plain", _ORGAN)
_row("adrenal", 25, 65, "plain", _ORGAN)
_row("kidney", 32, 175, "plain", _ORGAN)
_row("renal_sinus", -60, -50, "fat", _ORGAN)
_row("aorta", 42, 155, "plain", _ORGAN)
_row("vena_cava", 40, 145, "plain", _ORGAN)
_row("vessel", 40, 140, "plain", _ORGAN)
_row("stomach_wall", 40, 85, "plain", _ORGAN)
_row("bowel_wall", 40, 90, "plain", _ORGAN)
_row("bowel_fluid", 18, 20, "plain", _ORGAN)
_row("bowel_gas", -980, None, "plain", _ORGAN)
_row("stool", -60, None, "stool", _ORGAN)
_row("bladder", 5, 8, "plain", _ORGAN)
_row("bladder_wall", 35, 60, "plain", _ORGAN)
_row("reproductive_organ", 45, 85, "plain", _ORGAN)
_row("external_genitals", 40, 55, "plain", _ORGAN)
_row("calcification", 450, None, "plain", _ORGAN)

# What illness adds
_row("ascites", 8, 10, "plain")
_row("tumour", 38, 75, "plain", _ORGAN)
_row("metal", 6000, None, "plain", _BONE)

# Not of the body
_row("table_shell", 40, None, "plain")
_row("table_foam", -950, None, "plain")

# Chest, neck and head
_row("lung", -840, -820, "lung")
_row("airway", -985, None, "plain")
_row("heart", 42, 130, "plain", _ORGAN)
_row("oesophagus", 38, 70, "plain", _ORGAN)
_row("thyroid", 95, 150, "plain", _ORGAN)
_row("parotid", 15, 40, "plain")
_row("brain", 35, 42, "plain", "central_nervous_system")
_row("eye", 12, None, "plain", "central_nervous_system")
_row("spinal_canal", 28, 32, "plain", "central_nervous_system")
_row("myocardium", 48, 95, "plain", _ORGAN)
_row("airway_wall", 30, 45, "plain", _ORGAN)
_row("cerebrospinal_fluid", 8, None, "plain", "central_nervous_system")

# Bones: a shell of cortex around marrow; cartilage and discs go with the bones they join
_row("disc", 85, 90, "plain", _BONE)
_row("cartilage", 110, None, "plain", _BONE)
for _level in (*CERVICAL, *THORACIC, *LUMBAR, "S1"):
    _own = (f"vertebra_{_level}",) if f"vertebra_{_level}" in STORED_SCHEMAS["l3_slice"] else ()
    _row(f"{_level}_cortex", 620, None, "cortex", _BONE, *_own)
    _row(f"{_level}_marrow", 140 if _level == "S1" else 165, None, "marrow", _BONE, *_own)
for _name in ("sacrum", "sternum", "clavicle", "scapula", "humerus", "forearm_bone", "hand_bone", "skull",
              "mandible", "hyoid", "lower_leg_bone", "patella", "foot_bone"):  # fmt: skip
    _row(f"{_name}_cortex", 900, None, "cortex", _BONE)
    # that of the sacrum goes on from S1
    _row(f"{_name}_marrow", 120 if _name == "sacrum" else 90, None, "marrow", _BONE)
for _name, _label in (("hip_bone", "iliac_bone"), ("femur", "femur")):
    _row(f"{_name}_cortex", 1000, None, "cortex", _BONE, _label)
    _row(f"{_name}_marrow", 100, None, "marrow", _BONE, _label)
_row("femur_fatty_marrow", -40, None, "marrow", _BONE, "femur")
_row("rib_marrow", 120, None, "marrow", _BONE)
for _number in RIBS:
    for _side in SIDES:
        _row(f"rib_{_number}_{_side}", 550, None, "cortex", _BONE)
# The shell of a vertebral body, endplates and wall: so thin and so full of holes that it is never as bright as cortex
for _level in (*CERVICAL, *THORACIC, *LUMBAR, "S1"):
    _own = (f"vertebra_{_level}",) if f"vertebra_{_level}" in STORED_SCHEMAS["l3_slice"] else ()
    _row(f"{_level}_shell", 430, None, "cortex", _BONE, *_own)

TISSUES: dict[str, Tissue] = {
    name: Tissue(name, number, hu, enhanced, texture, labels)
    for number, (name, hu, enhanced, texture, labels) in enumerate(_ROWS)
}
if len(TISSUES) != len(_ROWS) or len(TISSUES) > 256:
    raise ValueError("tissues must have names of their own and fit into a byte")

BY_ID: tuple[Tissue, ...] = tuple(TISSUES.values())


@cache
def ids(names: Iterable[str] | str) -> npt.NDArray[np.bool_]:
    """A table over all 256 ids that is true for the named tissues; index it with a tissue array.

    Args:
        names: one name, or a hashable collection (tuple, frozenset).

    Raises:
        KeyError: no tissue of that name.
    """
    table = np.zeros(256, bool)
    table[[TISSUES[name].id for name in ((names,) if isinstance(names, str) else names)]] = True
    table.setflags(write=False)
    return table


@cache
def label_table(task: str) -> npt.NDArray[np.uint8]:
    """For every tissue id the id of its structure in a task's label schema, 0 where it has none."""
    schema = STORED_SCHEMAS[task]
    table = np.zeros(256, np.uint8)
    for tissue in BY_ID:
        for label in tissue.labels:
            if label in schema:
                table[tissue.id] = schema[label].id
    table.setflags(write=False)
    return table
