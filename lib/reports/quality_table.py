"""How well methods segment many structures of the same cases: the metrics of Kim 2024 as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lib.measures.agreement import correlation, intraclass_correlation
from lib.measures.quality import Quality

Case = Mapping[str, Quality]
_METRICS = {"dice": "Dice", "assd_mm": "ASSD (mm)", "hausdorff_mm": "HD (mm)", "ravd_percent": "RAVD (%)"}
_DIGITS = {"dice": 3, "ravd_percent": 1}
_NO_INTERVAL = "ICC (-): these cases are too few, and agree too little, for an interval."
_NO_ICC = "Volume correlation and ICC need three cases that hold the structure, and volumes that vary."


def quality_table(
    names: Sequence[str], cases: Sequence[Case], *, together: Mapping[str, Sequence[str]] | None = None
) -> str:
    """One method: mean ± standard deviation over cases for every structure, and how its volumes agree.

    Args:
        names: the structures, in the order of the rows.
        cases: the qualities of each case by structure.
        together: further rows, such as groups: name to the structures whose mean is taken.

    Returns:
        Markdown: a row for each structure, one for the mean of all, and those of ``together``. A mean of structures is
        taken case by case; of volume correlation and ICC it is the mean of the structures' own. "missed" counts cases
        whose reference holds the structure and in which it was not found: they have no distance and do not enter ASSD
        and HD, but Dice (0) and RAVD (100); "extra" counts the reverse. ``-`` stands where too few cases have a value;
        what that means for ICC and correlation is said below the table.
    """
    columns = ["structure", "cases", "missed", "extra", *_METRICS.values(), "volume correlation", "ICC (95 % CI)"]
    rows = {**{name: (name,) for name in names}, f"mean of {len(names)}": tuple(names), **(together or {})}
    lines = _head(columns)
    for row, structures in rows.items():
        held = [case[name] for case in cases for name in structures if name in case]
        judged = sum(any(name in case and case[name].dice is not None for name in structures) for case in cases)
        cells = [str(judged), str(sum(one.missed for one in held)), str(sum(one.invented for one in held))]
        cells += [_mean_and_sd(_means(cases, structures, metric), _DIGITS.get(metric, 2)) for metric in _METRICS]
        cells.append(_number(volume_correlation(structures, cases)))
        cells.append(_icc(structures[0], cases) if len(structures) == 1 else _number(_mean_icc(structures, cases)))
        lines.append(_line(row, cells))
    why = [sentence for mark, sentence in (("(-)", _NO_INTERVAL), ("| - |", _NO_ICC)) if any(mark in x for x in lines)]
    return "\n".join([*lines, *(line for sentence in why for line in ("", sentence))])


def quality_summary(names: Sequence[str], cases_by_method: Mapping[str, Sequence[Case]]) -> str:
    """Several methods, one row each, with the means over all structures, as in Figure 5 of Kim 2024.

    Args:
        names: the structures whose mean is taken.
        cases_by_method: method to the qualities of each case.
    """
    lines = _head(["method", "cases", "missed", *_METRICS.values(), "volume correlation", "ICC"])
    for method, cases in cases_by_method.items():
        missed = sum(case[name].missed for case in cases for name in names if name in case)
        cells = [str(len(cases)), str(missed)]
        cells += [_mean_and_sd(_means(cases, names, metric), _DIGITS.get(metric, 2)) for metric in _METRICS]
        cells += [_number(volume_correlation(names, cases)), _number(_mean_icc(names, cases))]
        lines.append(_line(method, cells))
    return "\n".join(lines)


def volume_correlation(names: Sequence[str], cases: Sequence[Case]) -> float | None:
    """Pearson's correlation of found with reference volumes over cases, averaged over structures (Kim 2024).

    Structures without one (fewer than three cases, or no variation) are left out; ``None`` where none has one.
    """
    return _mean([correlation(*_volumes(name, cases)) for name in names])


def _mean_icc(names: Sequence[str], cases: Sequence[Case]) -> float | None:
    found = [intraclass_correlation(*_volumes(name, cases)) for name in names]
    return _mean([icc.value if icc else None for icc in found])


def _icc(name: str, cases: Sequence[Case]) -> str:
    icc = intraclass_correlation(*_volumes(name, cases))
    if icc is None:
        return "-"
    interval = "-" if icc.low is None else f"{icc.low:.3f} to {icc.high:.3f}"
    return f"{icc.value:.3f} ({interval}), {icc.reliability}"


def _volumes(name: str, cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Found and reference volumes of the cases in which either holds the structure."""
    held = [case[name] for case in cases if name in case and case[name].dice is not None]
    return [one.found_mm3 for one in held], [one.reference_mm3 for one in held]


def _means(cases: Sequence[Case], names: Sequence[str], metric: str) -> npt.NDArray[np.float64]:
    """For every case the mean over its structures, those without a value left out; cases without any are left out."""
    means = [_mean([getattr(case[name], metric) for name in names if name in case]) for case in cases]
    return np.array([value for value in means if value is not None])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_and_sd(values: npt.NDArray[np.float64], digits: int) -> str:
    if not values.size:
        return "-"
    sd = f"{values.std(ddof=1):.{digits}f}" if values.size > 1 else "-"
    return f"{values.mean():.{digits}f} ± {sd}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns[0], columns[1:]), f"| {'--- | ' * len(columns)}".rstrip()]


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"
