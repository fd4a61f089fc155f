"""Filling shapes into a slice: voxel centres decide, the grid's edge cuts, other tissues stay."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from lib.phantoms.canvas import Canvas, Grid
from lib.phantoms.shapes import area, ellipse, smooth
from lib.phantoms.tissues import TISSUES

GRID = Grid(x0=-50.3, dx=1.7, nx=60, y0=-40.1, dy=1.3, ny=70)


def whole(canvas: Canvas, mask) -> np.ndarray:
    array = np.zeros(canvas.tissue.shape, bool)
    array[mask.window] = mask.inside
    return array


def centres() -> np.ndarray:
    x, y = np.meshgrid(GRID.x0 + GRID.dx * np.arange(GRID.nx), GRID.y0 + GRID.dy * np.arange(GRID.ny), indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


class TestPolygon:
    @pytest.mark.parametrize("seed", range(20))
    def test_the_voxels_are_those_whose_centre_is_inside(self, seed):
        corners = ellipse(*np.random.default_rng(seed).uniform(-30, 30, 2), 22, 13, turn=seed / 3)
        canvas = Canvas(GRID, 0.0)
        inside = Outline(corners).contains_points(centres()).reshape(60, 70)
        assert np.array_equal(whole(canvas, canvas.polygon(corners)), inside)

    def test_the_direction_of_rotation_does_not_matter(self):
        canvas, corners = Canvas(GRID, 0.0), smooth([(-20, -10), (10, -20), (25, 5), (0, 18)])
        assert np.array_equal(whole(canvas, canvas.polygon(corners)), whole(canvas, canvas.polygon(corners[::-1])))

    def test_neighbours_that_share_an_edge_neither_overlap_nor_leave_a_gap(self):
        canvas = Canvas(GRID, 0.0)
        left = np.array([(-30.0, -20.0), (3.3, -20.0), (-1.1, 21.0), (-30.0, 21.0)])
        right = np.array([(3.3, -20.0), (30.0, -20.0), (30.0, 21.0), (-1.1, 21.0)])
        both = np.array([(-30.0, -20.0), (30.0, -20.0), (30.0, 21.0), (-30.0, 21.0)])
        one, two = whole(canvas, canvas.polygon(left)), whole(canvas, canvas.polygon(right))
        assert not (one & two).any()
        assert np.array_equal(one | two, whole(canvas, canvas.polygon(both)))

    def test_what_reaches_beyond_the_grid_is_cut_off(self):
        canvas = Canvas(GRID, 0.0)
        assert whole(canvas, canvas.polygon(ellipse(0, 0, 500, 500))).all()
        assert not canvas.polygon(ellipse(400, 0, 50, 50)).inside.any()

    def test_the_area_is_that_of_the_outline(self):
        canvas, corners = Canvas(Grid(-50, 0.5, 200, -50, 0.5, 200), 0.0), ellipse(1, 2, 31, 17, turn=0.4)
        assert canvas.polygon(corners).inside.sum() * 0.25 == pytest.approx(area(corners), rel=0.01)

    def test_the_warp_moves_it(self):
        canvas = Canvas(GRID, 7.0, warp=lambda points, z: points + np.array([z, 0.0]))
        still = Canvas(GRID, 7.0)
        corners = ellipse(0, 0, 10, 10)
        assert np.array_equal(
            whole(canvas, canvas.polygon(corners)), whole(still, still.polygon(corners + np.array([7.0, 0.0])))
        )


class TestDiscs:
    def test_a_voxel_is_inside_when_any_disc_holds_it(self):
        canvas = Canvas(GRID, 0.0)
        middles, radii = np.array([(0.0, 0.0), (8.0, 3.0), (90.0, 90.0)]), np.array([6.0, 4.0, -1.0])
        distance = np.hypot(*(centres()[:, None] - middles).transpose(2, 0, 1))
        assert np.array_equal(
            whole(canvas, canvas.discs(middles, radii)), (distance <= radii).any(axis=1).reshape(60, 70)
        )

    def test_none_give_nothing(self):
        assert not Canvas(GRID, 0.0).discs(np.zeros((0, 2)), np.zeros(0)).inside.size


class TestFill:
    def test_only_the_named_tissues_give_way(self):
        canvas = Canvas(GRID, 0.0)
        canvas.fill(ellipse(-8, 0, 12, 12), "liver")
        changed = canvas.fill(ellipse(8, 0, 12, 12), "spleen", over="air")
        assert not (whole(canvas, changed) & (canvas.tissue == TISSUES["liver"].id)).any()
        assert np.array_equal(whole(canvas, changed), canvas.tissue == TISSUES["spleen"].id)
        untouched = Canvas(GRID, 0.0)
        untouched.fill(ellipse(-8, 0, 12, 12), "liver")
        assert (canvas.tissue == TISSUES["liver"].id).sum() == (untouched.tissue == TISSUES["liver"].id).sum()

    def test_an_unknown_tissue_is_an_error(self):
        with pytest.raises(KeyError):
            Canvas(GRID, 0.0).fill(ellipse(0, 0, 5, 5), "spam")
