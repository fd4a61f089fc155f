"""nnU-Net v2 on single slices: training through its own classes, and prediction."""
