"""Numbers from an image and its labels."""
