"""The same seed gives the same voxels on every machine: checksums of small phantoms of every region."""

from __future__ import annotations

import hashlib

import pytest

from lib.phantoms.phantom import Phantom

CONDITIONS = {"contrast": 0.8, "myosteatosis": 0.5, "table": 1.0, "metal": 0.6, "ascites": 0.4}
PINNED = {
    "abdomen": ("133830135cb15432", "dc4198991bce7ee3"),
    "torso": ("6ed3f51440189587", "26678fb41e35da73"),
    "thigh": ("826df5130a6efc67", "aaac561be1a9b2e0"),
    "whole_body": ("49d99bb5c2499390", "3b171a70d795b228"),
}


@pytest.mark.parametrize("region", PINNED)
def test_image_and_labels_are_those_that_were_drawn_when_this_was_written(region):
    """Whoever changes what a phantom looks like puts the new checksums here, and makes the pictures anew."""
    phantom = Phantom(11, region, conditions=CONDITIONS, shape=(72, 72, 24))
    labels = b"".join(phantom.label(task).tobytes() for task in phantom.tasks)
    found = tuple(hashlib.sha256(data).hexdigest()[:16] for data in (phantom.image.hu.tobytes(), labels))
    assert found == PINNED[region]
