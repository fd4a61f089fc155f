"""How the muscles of the thigh lie to each other, by which swapped names and sides are noticed."""

from __future__ import annotations

# Direction to pairs of which the first muscle lies farther that way on nearly every axial slice that shows both, in any
# atlas of sections of a supine patient. Only pairs that lie well apart.
PLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "lateral": (
        ("vastus_lateralis", "vastus_medialis"),
        ("vastus_lateralis", "gracilis"),
        ("vastus_lateralis", "adductor_longus"),
        ("biceps_femoris", "semimembranosus"),
        ("tensor_fasciae_latae", "pectineus"),
        ("gluteus_medius", "obturator_internus"),
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
    ),
}
