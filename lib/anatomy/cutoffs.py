"""Published CT cut-offs for muscle and fat, each with its population, level and source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from lib.anatomy.hounsfield import MUSCLE, HounsfieldRange

Sex = Literal["M", "F"]


class Level(Enum):
    """Where in the body a cut-off was measured."""

    L3 = "L3"
    WAIST = "waist average"  # from the lower margin of the last rib to the upper margin of the iliac crest (Lee 2021)
    UMBILICUS = "umbilicus"


class Quantity(Enum):
    """What is compared with a cut-off."""

    SMI_L3 = ("skeletal muscle index", "cm²/m²", "muscle mass")
    SMA_L3 = ("skeletal muscle area", "cm²", "muscle mass")
    MUSCLE_ATTENUATION_L3 = ("mean muscle attenuation", "HU", "muscle attenuation")
    VISCERAL_FAT_AREA = ("visceral fat area", "cm²", "visceral fat area")
    SMI_WAIST = ("average skeletal muscle index", "cm²/m²", "muscle mass")
    BFI_WAIST = ("average body fat index", "cm²/kg", "body fat")

    def __init__(self, label: str, unit: str, finding: str) -> None:
        self.label = label
        self.unit = unit
        self.finding = finding  # what is said to be low or high


class Comparison(Enum):
    """Which side of the threshold is abnormal, and whether the threshold itself is."""

    BELOW = "<"
    ABOVE = ">"
    AT_OR_ABOVE = "≥"

    @property
    def adjective(self) -> str:
        """What a value on the abnormal side is called."""
        return "low" if self is Comparison.BELOW else "high"

    def holds(self, value: float, threshold: float) -> bool:
        """Whether ``value`` lies on the abnormal side of ``threshold``."""
        if self is Comparison.BELOW:
            return value < threshold
        return value > threshold if self is Comparison.ABOVE else value >= threshold


@dataclass(frozen=True, kw_only=True)
class ByBMI:
    """A threshold that depends on the body mass index.

    Attributes:
        limit: kg/m².
        below: the threshold for a BMI under ``limit``.
        from_limit: the threshold for a BMI of ``limit`` and more.
    """

    limit: float
    below: float
    from_limit: float


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """One published cut-off.

    Attributes:
        name: its key, for results and settings.
        quantity: what it judges; thresholds are in its unit.
        men: the threshold for men, or ``None`` where none was published.
        women: the same for women.
        comparison: what of it is abnormal.
        level: where the publication measured.
        population: from whom it was derived, and on what CT.
        source: authors, journal, year and DOI.
        muscle_hu: the HU that counted as muscle, or ``None`` where muscle was not measured.
        of_healthy: whether it is a limit of the range of healthy people, and no threshold of risk or disease.
    """

    name: str
    quantity: Quantity
    men: float | ByBMI | None
    women: float | ByBMI | None
    comparison: Comparison
    level: Level
    population: str
    source: str
    muscle_hu: HounsfieldRange | None = MUSCLE
    of_healthy: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one cut-off says about one value.

    Attributes:
        cutoff: the cut-off's name.
        threshold: the threshold that was used, in the quantity's unit.
        comparison: how a value is abnormal: "<", ">" or "≥" ``threshold``.
        is_abnormal: whether it is.
        statement: the finding in words, such as "low muscle mass". It names a measurement, never a disease:
            sarcopenia needs strength or performance as well, which no CT shows.
        population: from whom the cut-off was derived.
        source: where it was published.
    """

    cutoff: str
    threshold: float
    comparison: str
    is_abnormal: bool
    statement: str
    population: str
    source: str


@dataclass(frozen=True, kw_only=True)
class NoCall:
    """A cut-off for this quantity that could not be applied, and why."""

    cutoff: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Classification:
    """A value under every published cut-off for its quantity: those that apply and those that do not."""

    calls: tuple[Call, ...]
    no_calls: tuple[NoCall, ...]


_PRADO = "Prado CMM, Lieffers JR, McCargar LJ, et al. Lancet Oncol 2008;9:629-635. doi:10.1016/S1470-2045(08)70153-0"
_MARTIN = "Martin L, Birdsell L, MacDonald N, et al. J Clin Oncol 2013;31:1539-1547. doi:10.1200/JCO.2012.45.2722"
_NISHIKAWA = "Nishikawa H, Shiraki M, Hiramatsu A, et al. Hepatol Res 2016;46:951-963. doi:10.1111/hepr.12774"
_VAN_DER_WERF = (
    "van der Werf A, Langius JAE, de van der Schueren MAE, et al. Eur J Clin Nutr 2018;72:288-296. "
    "doi:10.1038/s41430-017-0034-5"
)
_DERSTINE = "Derstine BA, Holcombe SA, Ross BE, et al. Sci Rep 2018;8:11369. doi:10.1038/s41598-018-29825-5"
_LEE = "Lee YS, Hong N, Witanto JN, et al. Clin Nutr 2021;40:5038-5046. doi:10.1016/j.clnu.2021.06.025"
_JASSO = (
    "Examination Committee of Criteria for 'Obesity Disease' in Japan, Japan Society for the Study of Obesity. "
    "Circ J 2002;66:987-992. doi:10.1253/circj.66.987"
)
_DOYLE = "Doyle SL, Bennett AM, Donohoe CL, et al. Nutr Res 2013;33:171-179. doi:10.1016/j.nutres.2012.12.007"

_CANCER_OBESE = "obese patients with solid tumours of the respiratory or gastrointestinal tract, Canada"
_CANCER = "patients with cancer of the lung or the gastrointestinal tract, Canada"
_US_DONORS = "healthy kidney donor candidates aged 18 to 40, USA, CT without contrast; mean - 2 SD"
_DUTCH_DONORS = "healthy potential kidney donors aged 20 to 82, the Netherlands; 5th percentile"
_KOREAN_ELDERLY = "community-dwelling elderly, Korea, CT without contrast; matched to thresholds of bioimpedance"

# Where a publication gives a number without saying on which side the number itself falls, a low cut-off is read
# as "<", as mean - 2 SD, a percentile and the bioimpedance thresholds behind Lee 2021 are, and a high one as ">".
CUTOFFS: tuple[Cutoff, ...] = (
    Cutoff(
        name="prado_2008_smi",
        quantity=Quantity.SMI_L3,
        men=52.4,
        women=38.5,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_CANCER_OBESE,
        source=_PRADO,
    ),
    Cutoff(
        name="martin_2013_smi",
        quantity=Quantity.SMI_L3,
        men=ByBMI(limit=25, below=43, from_limit=53),
        women=41,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_CANCER,
        source=_MARTIN,
    ),
    Cutoff(
        name="martin_2013_attenuation",
        quantity=Quantity.MUSCLE_ATTENUATION_L3,
        men=ByBMI(limit=25, below=41, from_limit=33),
        women=ByBMI(limit=25, below=41, from_limit=33),
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_CANCER,
        source=_MARTIN,
    ),
    Cutoff(
        name="nishikawa_2016_smi",
        quantity=Quantity.SMI_L3,
        men=42,
        women=38,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population="patients with chronic liver disease, Japan (Japan Society of Hepatology)",
        source=_NISHIKAWA,
    ),
    Cutoff(
        name="van_der_werf_2018_smi",
        quantity=Quantity.SMI_L3,
        men=41.6,
        women=32.0,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_DUTCH_DONORS,
        source=_VAN_DER_WERF,
        of_healthy=True,
    ),
    Cutoff(
        name="van_der_werf_2018_sma",
        quantity=Quantity.SMA_L3,
        men=134.0,
        women=89.2,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_DUTCH_DONORS,
        source=_VAN_DER_WERF,
        of_healthy=True,
    ),
    Cutoff(
        name="van_der_werf_2018_attenuation",
        quantity=Quantity.MUSCLE_ATTENUATION_L3,
        men=29.3,
        women=22.0,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_DUTCH_DONORS,
        source=_VAN_DER_WERF,
        of_healthy=True,
    ),
    Cutoff(
        name="derstine_2018_smi",
        quantity=Quantity.SMI_L3,
        men=45.4,
        women=34.4,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_US_DONORS,
        source=_DERSTINE,
        of_healthy=True,
    ),
    Cutoff(
        name="derstine_2018_sma",
        quantity=Quantity.SMA_L3,
        men=144.3,
        women=92.2,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_US_DONORS,
        source=_DERSTINE,
        of_healthy=True,
    ),
    Cutoff(
        name="derstine_2018_attenuation",
        quantity=Quantity.MUSCLE_ATTENUATION_L3,
        men=38.5,
        women=34.3,
        comparison=Comparison.BELOW,
        level=Level.L3,
        population=_US_DONORS,
        source=_DERSTINE,
        of_healthy=True,
    ),
    Cutoff(
        name="lee_2021_smi",
        quantity=Quantity.SMI_WAIST,
        men=40,
        women=35,
        comparison=Comparison.BELOW,
        level=Level.WAIST,
        population=_KOREAN_ELDERLY,
        source=_LEE,
    ),
    Cutoff(
        name="lee_2021_bfi",
        quantity=Quantity.BFI_WAIST,
        men=4.7,
        women=5.8,
        comparison=Comparison.ABOVE,
        level=Level.WAIST,
        population=_KOREAN_ELDERLY,
        source=_LEE,
        muscle_hu=None,
    ),
    Cutoff(
        name="doyle_2013_visceral_fat",
        quantity=Quantity.VISCERAL_FAT_AREA,
        men=163.8,
        women=80.1,
        comparison=Comparison.ABOVE,
        level=Level.L3,  # "between the L3 and L4 intervertebral space"
        population="white patients with gastrointestinal cancer; tied to the metabolic syndrome",
        source=_DOYLE,
        muscle_hu=None,
    ),
    Cutoff(
        name="jasso_2002_visceral_fat",
        quantity=Quantity.VISCERAL_FAT_AREA,
        men=100,
        women=100,
        comparison=Comparison.AT_OR_ABOVE,
        level=Level.UMBILICUS,
        population="adults aged 20 to 84, health check-ups and obesity clinic, Japan",
        source=_JASSO,
        muscle_hu=None,
    ),
)

CUTOFFS_BY_NAME: dict[str, Cutoff] = {cutoff.name: cutoff for cutoff in CUTOFFS}


def classify(
    quantity: Quantity, value: float, *, sex: Sex | None, bmi: float | None = None, level: Level
) -> Classification:
    """Hold a value against every published cut-off for its quantity.

    Args:
        quantity: what was measured.
        value: in the quantity's unit.
        sex: "M" or "F", or ``None`` if it is not known.
        bmi: body mass index in kg/m², or ``None`` if it is not known.
        level: where it was measured. A cut-off of another level is not applied.

    Returns:
        One call for each cut-off that applies; the others with the reason why not. A missing fact is never guessed.

    Raises:
        ValueError: ``value`` is not finite, or ``bmi`` is not a positive number.
    """
    if not math.isfinite(value):
        raise ValueError(f"the {quantity.label} must be a finite number, got {value}")
    if bmi is not None and not (math.isfinite(bmi) and bmi > 0):
        raise ValueError(f"the BMI must be a positive number of kg/m², got {bmi}")
    calls, no_calls = [], []
    for cutoff in (c for c in CUTOFFS if c.quantity is quantity):
        answer = _threshold(cutoff, sex=sex, bmi=bmi, level=level)
        if isinstance(answer, str):
            no_calls.append(NoCall(cutoff=cutoff.name, reason=answer))
        else:
            calls.append(_call(cutoff, value=value, threshold=answer))
    return Classification(calls=tuple(calls), no_calls=tuple(no_calls))


def _threshold(cutoff: Cutoff, *, sex: Sex | None, bmi: float | None, level: Level) -> float | str:
    """The threshold for this patient, or the reason why there is none."""
    if level is not cutoff.level:
        return f"published for the level {cutoff.level.value}, measured at {level.value}"
    if sex is None and cutoff.men != cutoff.women:
        return "sex unknown"
    threshold = cutoff.women if sex == "F" else cutoff.men
    if threshold is None:
        return f"not published for {'women' if sex == 'F' else 'men'}"
    if not isinstance(threshold, ByBMI):
        return threshold
    if bmi is None:
        return "BMI unknown"
    return threshold.below if bmi < threshold.limit else threshold.from_limit


def _call(cutoff: Cutoff, *, value: float, threshold: float) -> Call:
    abnormal = cutoff.comparison.holds(value, threshold)
    adjective, finding = cutoff.comparison.adjective, cutoff.quantity.finding
    return Call(
        cutoff=cutoff.name,
        threshold=threshold,
        comparison=cutoff.comparison.value,
        is_abnormal=abnormal,
        statement=f"{adjective} {finding}" if abnormal else f"{finding} not {adjective}",
        population=cutoff.population,
        source=cutoff.source,
    )
