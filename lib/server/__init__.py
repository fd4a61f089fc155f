"""MONAI Label's own ASGI app, made fit for several people at once."""
