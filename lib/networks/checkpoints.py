"""Files of weights that are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_whole(content: Any, path: Path) -> None:
    """Write what PyTorch can save; the file before it stays until the new one is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
