"""What a label says of a voxel that nobody judged."""

UNJUDGED = 255
"""In a label: nobody said what this voxel is. Neither the loss nor the Dice looks at it."""
