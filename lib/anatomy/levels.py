"""Names and order of the vertebral levels from the thorax to the sacrum, and how near L3 has to be found."""

from __future__ import annotations

THORACIC = tuple(f"T{i}" for i in range(1, 13))
LUMBAR = ("L1", "L2", "L3", "L4", "L5")
SACRAL = ("S1",)

HEAD_TO_FOOT = THORACIC + LUMBAR + SACRAL
FOOT_TO_HEAD = HEAD_TO_FOOT[::-1]

SUCCESS_MM = 10.0
"""Distance to the true slice of L3 below which Ha 2021 calls the choice of the slice a technical success."""
