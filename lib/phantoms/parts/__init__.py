"""The parts of the body, each drawn by itself: `PART(frame).paint(canvas)` draws what a slice shows of it."""
