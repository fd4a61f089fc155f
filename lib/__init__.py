"""Sarcopenia Label: body composition on CT, on top of MONAI Label."""

VERSION = "0.1.0"
