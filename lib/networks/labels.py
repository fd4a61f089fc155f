"""What stands in a label that networks learn from where nobody said what a voxel is."""

UNJUDGED = 255
"""Neither the loss nor the Dice looks at a voxel with this value."""
