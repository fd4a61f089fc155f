"""The label schemas: for every task the names, numbers, colours and DICOM codes of what is labelled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class Code:
    """A coded concept, as DICOM SEG and SR want it."""

    value: str
    meaning: str
    scheme: str = "SCT"


ANATOMICAL_STRUCTURE = Code("123037004", "Anatomical Structure")
TISSUE = Code("85756007", "Tissue")

# The five groups of Kim 2024, Table 1.
MUSCLE_GROUPS = ("anterior", "medial", "posterior", "gluteal", "others")
_OTHER_MUSCLES = ("psoas", "paraspinal", "abdominal_wall", "skeletal_muscle", "muscle")


@dataclass(frozen=True)
class Structure:
    """One thing that is labelled.

    Attributes:
        name: unique over all tasks; what clients and files call it.
        id: its value in a stored label, 1 and up without gaps.
        color: red, green, blue, 0 to 255.
        code: what it is (SNOMED CT).
        definition: what an annotator includes and leaves out.
        category: the kind of thing (SNOMED CT), for DICOM SEG.
        group: the anatomical group for results by group, or "".
    """

    name: str
    id: int
    color: tuple[int, int, int]
    code: Code
    definition: str = ""
    category: Code = ANATOMICAL_STRUCTURE
    group: str = ""

    @property
    def is_muscle(self) -> bool:
        """Whether this is skeletal muscle, for which areas within the muscle's HU range mean something."""
        return self.group in MUSCLE_GROUPS or self.name in _OTHER_MUSCLES


@dataclass(frozen=True)
class LabelSchema:
    """The structures of one task, in the order of their ids.

    Attributes:
        task: whose they are.
        structures: what is labelled and stored.
        guides: what an answer may show besides, for an annotator to draw by; it is never stored. Their ids go on from
            those of the structures.
        bounded: whether the structures end within the body, so that a CT may go on beyond all of them.
    """

    task: str
    structures: tuple[Structure, ...]
    guides: tuple[Structure, ...] = ()
    bounded: bool = False

    def __post_init__(self) -> None:
        ids = [s.id for s in (*self.structures, *self.guides)]
        if ids != list(range(1, len(ids) + 1)):
            raise ValueError(f"the ids of {self.task} must run from 1 without gaps: Slicer maps them by position")

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures)

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, name: str) -> Structure:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Structure]:
        return {s.name: s for s in self.structures}

    @cached_property
    def ids(self) -> dict[str, int]:
        """Name to id, in ascending order of id."""
        return {s.name: s.id for s in self.structures}

    @property
    def names(self) -> tuple[str, ...]:
        """The names in ascending order of id."""
        return tuple(s.name for s in self.structures)

    @cached_property
    def shown(self) -> LabelSchema:
        """What a client is offered: the structures and the guides."""
        return LabelSchema(self.task, (*self.structures, *self.guides))


def _schema(task: str, *structures: tuple) -> LabelSchema:
    return LabelSchema(task, tuple(Structure(name, i, *rest) for i, (name, *rest) in enumerate(structures, start=1)))


_VERTEBRAE = {
    "T10": ("7610001", (201, 160, 220)),
    "T11": ("12989004", (176, 196, 222)),
    "T12": ("23215003", (135, 170, 222)),
    "L1": ("66794005", (120, 200, 225)),
    "L2": ("14293000", (110, 215, 175)),
    "L3": ("36470004", (250, 200, 60)),
    "L4": ("11994002", (245, 150, 90)),
    "L5": ("49668003", (225, 110, 120)),
    "L6": ("51282000", (205, 90, 160)),
    "S1": ("65985001", (160, 110, 190)),
}
_UPPER_THORACIC = {
    "T1": ("64864005", (236, 222, 240)),
    "T2": ("53733008", (214, 226, 236)),
    "T3": ("1626008", (190, 232, 225)),
    "T4": ("73071006", (206, 236, 196)),
    "T5": ("56401006", (232, 234, 186)),
    "T6": ("45296009", (244, 218, 180)),
    "T7": ("62487009", (244, 200, 190)),
    "T8": ("11068009", (236, 184, 206)),
    "T9": ("82687006", (218, 172, 216)),
}


def _vertebrae(levels: dict[str, tuple[str, tuple[int, int, int]]]) -> tuple[tuple, ...]:
    return tuple(
        (
            f"vertebra_{level}",
            color,
            Code(value, f"{level} vertebra" if level != "L6" else "Vertebra"),
            f"The vertebra {level}, body and processes." if level != "L6" else "A sixth lumbar vertebra.",
        )
        for level, (value, color) in levels.items()
    )


L3_SLICE = _schema(
    "l3_slice",
    (
        "l3_slice",
        (255, 225, 25),
        Code("36470004", "L3 vertebra"),
        "Any mark on the one slice that shows the inferior endplate of L3 (Ha 2021).",
    ),
    *_vertebrae(_VERTEBRAE),
    *_vertebrae(_UPPER_THORACIC),
    (
        "last_rib",
        (70, 130, 110),
        Code("113197003", "Rib"),
        "The lowest rib of each side in its whole length, whichever vertebra carries it and however short it is.",
    ),
    (
        "iliac_crest",
        (140, 90, 60),
        Code("29850006", "Iliac Crest"),
        "Any mark on the highest slices of the iliac crest of each side.",
    ),
    (
        "transitional_vertebra",
        (250, 60, 140),
        Code("51282000", "Vertebra"),
        "Any mark within a lumbosacral transitional vertebra (Castellvi 1984), which keeps its own name besides.",
    ),
)

L3_MUSCLE = _schema(
    "l3_muscle",
    (
        "psoas",
        (220, 60, 60),
        Code("57240007", "Psoas major muscle"),
        "Psoas major (and minor) on both sides.",
    ),
    (
        "paraspinal",
        (60, 150, 220),
        Code("244849004", "Deep muscle of back"),
        "Erector spinae, multifidus and quadratus lumborum on both sides (Yu 2026).",
    ),
    (
        "abdominal_wall",
        (90, 190, 90),
        Code("195879000", "Abdominal wall muscle"),
        "Transversus abdominis, internal and external oblique, rectus abdominis (Yu 2026); latissimus dorsi belongs "
        "to none.",
    ),
)

L3_TISSUE = _schema(
    "l3_tissue",
    (
        "skeletal_muscle",
        (190, 70, 70),
        Code("127954009", "Skeletal muscle"),
        "The three groups of l3_muscle together. Fat inside a muscle stays in; it is told apart by its HU afterwards "
        "(Ha 2021).",
    ),
    (
        "visceral_fat",
        (240, 200, 80),
        Code("725273006", "Adipose tissue of abdomen"),
        "Fat within the inner surface of the abdominal wall, mesenteric and retroperitoneal.",
        TISSUE,
    ),
    (
        "l3_subcutaneous_fat",
        (120, 190, 230),
        Code("67769002", "Subcutaneous fatty tissue"),
        "Fat between the skin and the outer surface of the muscles; the skin is left out.",
        TISSUE,
    ),
)

BODY_COMPOSITION = _schema(
    "body_composition",
    (
        "skin",
        (240, 180, 160),
        Code("39937001", "Skin"),
        "The outermost layer of the body all around, about 2 mm thick; also where skin lies on skin, as in a fold.",
    ),
    (
        "bone",
        (240, 235, 200),
        Code("272673000", "Bone"),
        "All bones from the skull to the phalanges with their marrow, and the hyoid bone, the cricoid, arytenoid and "
        "thyroid cartilages and the rib cartilages.",
    ),
    (
        "muscle",
        (170, 60, 60),
        Code("127954009", "Skeletal muscle"),
        "Skeletal muscle with the proximal diaphragm and its crura as far as they can be told, without its central "
        "tendon; also salivary and submandibular glands (the parotids belong to no class), and vessels beyond the "
        "upper end of the thyroid, the proximal biceps and the upper third of the femur.",
    ),
    (
        "abdominal_visceral_fat",
        (240, 210, 90),
        Code("725273006", "Adipose tissue of abdomen"),
        "Peritoneal and retroperitoneal fat from below the xiphoid process and the diaphragmatic hiatus down to the "
        "perirectal fat.",
        TISSUE,
    ),
    (
        "subcutaneous_fat",
        (110, 180, 220),
        Code("67769002", "Subcutaneous fatty tissue"),
        "Fat under the skin, together with the fat within and between muscles and the fat inside the chest.",
        TISSUE,
    ),
    (
        "internal_organs_and_vessels",
        (150, 110, 190),
        Code("113343008", "Organ"),
        "Solid organs and hollow viscera of abdomen and chest, breast tissue, external genitals, the thyroid, and the "
        "major arteries and veins; lung and airways belong to no class.",
    ),
    (
        "central_nervous_system",
        (250, 150, 60),
        Code("21483005", "Central nervous system"),
        "Everything inside the skull and the spinal canal, and the eyeballs.",
    ),
)

# Kim 2024 does not say where psoas and iliacus become iliopsoas; this is the rule here.
_ILIOPSOAS_RULE = (
    "On each side a slice holds either iliopsoas or psoas_major and iliacus, never both: they become iliopsoas on the "
    "highest slice on which no plane of fat runs all the way between them, at the latest at the roof of the acetabulum."
)
_THIGH_DEFINITIONS = {
    "vastus_intermedius": "In front of and beside the shaft of the femur, under rectus_femoris; where it has grown "
    "together with vastus_lateralis, divided along the line that continues the last visible plane of fat.",
    "adductor_magnus": "With its part to the knee (hamstring part) and adductor minimus.",
    "biceps_femoris": "Long and short head.",
    "obturator_internus": "With the gemelli.",
    "iliacus": f"The muscle in the iliac fossa above its union with the psoas. {_ILIOPSOAS_RULE}",
    "iliopsoas": f"Psoas and iliacus together, down to the lesser trochanter. {_ILIOPSOAS_RULE}",
    "psoas_major": f"Psoas major (and minor) above its union with the iliacus. {_ILIOPSOAS_RULE}",
    "abdominal_oblique": "External and internal oblique; transversus abdominis belongs to no class.",
    "femur": "With its marrow, from the head to the condyles, and an implant in it; the patella belongs to no class.",
    "iliac_bone": "The whole hip bone of both sides (ilium, ischium and pubis) with its marrow, without the sacrum.",
}

# Kim 2024, Methods, ground truth labeling: 27 muscles in five groups and two bones; the psoas is called psoas_major
# here so that names are unique over all tasks. A muscle whose own code no public terminology confirmed carries the next
# broader one.
_THIGH_STRUCTURES = _schema(
    "thigh_muscles",
    *(
        (name, color, Code(value, meaning), _THIGH_DEFINITIONS.get(name, ""), ANATOMICAL_STRUCTURE, group)
        for name, value, meaning, group, color in (
            ("sartorius", "50092008", "Muscle of thigh", "anterior", (230, 25, 75)),
            ("rectus_femoris", "72226001", "Rectus femoris muscle", "anterior", (255, 110, 110)),
            ("vastus_lateralis", "1403006", "Vastus lateralis muscle", "anterior", (200, 70, 40)),
            ("vastus_intermedius", "21989003", "Quadriceps femoris muscle", "anterior", (245, 130, 48)),
            ("vastus_medialis", "3478008", "Vastus medialis muscle", "anterior", (255, 180, 120)),
            ("adductor_magnus", "50092008", "Muscle of thigh", "medial", (60, 140, 60)),
            ("adductor_brevis", "50092008", "Muscle of thigh", "medial", (120, 200, 90)),
            ("adductor_longus", "50092008", "Muscle of thigh", "medial", (170, 230, 130)),
            ("gracilis", "2577006", "Gracilis muscle", "medial", (30, 180, 120)),
            ("pectineus", "50092008", "Muscle of thigh", "medial", (0, 128, 128)),
            ("semitendinosus", "50092008", "Muscle of thigh", "posterior", (70, 130, 230)),
            ("semimembranosus", "50092008", "Muscle of thigh", "posterior", (40, 80, 180)),
            ("biceps_femoris", "50092008", "Muscle of thigh", "posterior", (110, 190, 250)),
            ("gluteus_maximus", "206007", "Gluteus maximus muscle", "gluteal", (145, 30, 180)),
            ("gluteus_medius", "78333006", "Gluteus medius muscle", "gluteal", (190, 90, 220)),
            ("gluteus_minimus", "75297007", "Gluteus minimus muscle", "gluteal", (220, 150, 240)),
            ("tensor_fasciae_latae", "102292000", "Muscle of lower limb", "gluteal", (240, 50, 230)),
            ("piriformis", "75699001", "Piriformis muscle", "gluteal", (255, 140, 200)),
            ("obturator_internus", "82115007", "Obturator internus muscle", "gluteal", (170, 60, 130)),
            ("obturator_externus", "102292000", "Muscle of lower limb", "gluteal", (210, 110, 160)),
            ("quadratus_femoris", "102292000", "Muscle of lower limb", "gluteal", (120, 60, 110)),
            ("iliacus", "68455001", "Iliopsoas muscle", "others", (170, 110, 40)),
            ("iliopsoas", "68455001", "Iliopsoas muscle", "others", (200, 150, 80)),
            ("psoas_major", "57240007", "Psoas major muscle", "others", (230, 190, 120)),
            ("abdominal_oblique", "195879000", "Abdominal wall muscle", "others", (128, 128, 0)),
            ("rectus_abdominis", "195879000", "Abdominal wall muscle", "others", (180, 180, 60)),
            ("multifidus", "5709001", "Multifidus muscles", "others", (100, 100, 20)),
            ("femur", "71341001", "Femur", "bones", (245, 240, 210)),
            ("iliac_bone", "22356005", "Ilium", "bones", (140, 215, 225)),
        )
    ),
)

THIGH_MUSCLES = replace(
    _THIGH_STRUCTURES,
    bounded=True,
    guides=(
        Structure(
            "muscle_compartment",
            len(_THIGH_STRUCTURES) + 1,
            (200, 60, 60),
            Code("102292000", "Muscle of lower limb"),
            "The outline of all muscles together with the fat between them, to draw within. It is never stored: "
            "paint the muscles over it.",
        ),
    ),
)

# What is stored. Names are unique over these, so a name alone says which task a segment belongs to.
STORED_SCHEMAS: dict[str, LabelSchema] = {
    schema.task: schema for schema in (L3_MUSCLE, L3_TISSUE, BODY_COMPOSITION, THIGH_MUSCLES, L3_SLICE)
}


def _sarcopenia() -> LabelSchema:
    parts = [*L3_MUSCLE, L3_TISSUE["visceral_fat"], L3_TISSUE["l3_subcutaneous_fat"]]
    return LabelSchema(
        "sarcopenia",
        tuple(Structure(**{**vars(part), "id": i}) for i, part in enumerate(parts, start=1)),
    )


# What the whole pipeline shows in one label; saved, it becomes one label of l3_muscle and one of l3_tissue.
SARCOPENIA = _sarcopenia()

SCHEMAS: dict[str, LabelSchema] = {**STORED_SCHEMAS, SARCOPENIA.task: SARCOPENIA}

# Classes that are also reported together, where a schema holds all of them.
TOGETHER: dict[str, tuple[str, ...]] = {"skeletal_muscle": L3_MUSCLE.names}


# Names that are shown and never stored.
GUIDES: frozenset[str] = frozenset(guide.name for schema in STORED_SCHEMAS.values() for guide in schema.guides)


def task_of(name: str) -> str | None:
    """The task whose stored labels hold a structure of this name, or ``None``."""
    return next((task for task, schema in STORED_SCHEMAS.items() if name in schema), None)
