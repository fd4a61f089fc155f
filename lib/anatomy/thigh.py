"""How the muscles of the thigh lie to each other, by which swapped names and sides are noticed."""

from __future__ import annotations

# Direction to pairs of which the first muscle lies farther that way on nearly every axial slice that shows both, in any
# atlas of sections of a supine patient; by the middles of their sections.
PLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "lateral": (
        ("vastus_lateralis", "vastus_medialis"),
        ("vastus_lateralis", "gracilis"),
        ("vastus_lateralis", "adductor_longus"),
        ("biceps_femoris", "semimembranosus"),
        ("tensor_fasciae_latae", "pectineus"),
        ("gluteus_medius", "obturator_internus"),
        ("vastus_lateralis", "vastus_intermedius"),
        ("adductor_magnus", "gracilis"),
        ("gluteus_medius", "gluteus_minimus"),
        ("iliacus", "psoas_major"),
        ("abdominal_oblique", "rectus_abdominis"),
    ),
    "anterior": (
        ("rectus_femoris", "biceps_femoris"),
        ("rectus_femoris", "adductor_magnus"),
        ("vastus_medialis", "semitendinosus"),
        ("vastus_intermedius", "biceps_femoris"),
        ("adductor_longus", "adductor_magnus"),
        ("tensor_fasciae_latae", "gluteus_maximus"),
        ("rectus_abdominis", "multifidus"),
        ("psoas_major", "multifidus"),
        ("semimembranosus", "semitendinosus"),
        ("adductor_longus", "adductor_brevis"),
        ("adductor_brevis", "adductor_magnus"),
        ("pectineus", "obturator_externus"),
    ),
}
