"""Sarcopenia Label: body composition on CT, on top of MONAI Label."""
