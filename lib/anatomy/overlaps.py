"""Which structures of different tasks cover each other in the body.

A viewer keeps one segment per voxel when it exports a label. Two segments that cover each other therefore cannot both
be whole in one label; which pairs these are is anatomy, and stands here.
"""

from __future__ import annotations

from lib.anatomy.schemas import L3_MUSCLE, L3_SLICE, THIGH_MUSCLES

_L3_GROUPS = frozenset(L3_MUSCLE.names)
_BONES = frozenset(s.name for s in THIGH_MUSCLES if s.group == "bones")
_KIM_MUSCLES = frozenset(THIGH_MUSCLES.names) - _BONES
_KIM_TRUNK_MUSCLES = frozenset({"psoas_major", "iliopsoas", "multifidus", "abdominal_oblique", "rectus_abdominis"})

# Each row: two sets of names, every one of the first covering every one of the second, wholly or in part.
_COVERING: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"skeletal_muscle"}), _L3_GROUPS | _KIM_TRUNK_MUSCLES),
    (frozenset({"muscle"}), _L3_GROUPS | _KIM_MUSCLES | {"skeletal_muscle"}),
    (frozenset({"bone"}), frozenset(L3_SLICE.names) | _BONES),
    (frozenset({"abdominal_visceral_fat"}), frozenset({"visceral_fat"})),
    (frozenset({"subcutaneous_fat"}), frozenset({"l3_subcutaneous_fat"})),
    (frozenset({"psoas"}), frozenset({"psoas_major", "iliopsoas"})),
    (frozenset({"paraspinal"}), frozenset({"multifidus"})),
    (frozenset({"abdominal_wall"}), frozenset({"abdominal_oblique", "rectus_abdominis"})),
)

COVERING_PAIRS: frozenset[frozenset[str]] = frozenset(
    frozenset({one, other}) for ones, others in _COVERING for one in ones for other in others
)


def cover_each_other(one: str, other: str) -> bool:
    """Whether two structures of different tasks share tissue."""
    return frozenset({one, other}) in COVERING_PAIRS
