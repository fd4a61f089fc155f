"""Curves, lofts, tubes and outlines against what geometry says they are."""

import numpy as np
import pytest

from lib.phantoms.shapes import Curve, Loft, Tube, area, ellipse, inset, mirrored, moved, scaled, smooth


class TestCurve:
    def test_it_goes_through_its_stations_and_stays_beyond_them(self):
        curve = Curve({0: 1.0, 10: 3.0, 20: 2.0})
        assert [float(curve(z)) for z in (-5, 0, 10, 20, 99)] == pytest.approx([1, 1, 3, 2, 2])

    def test_it_does_not_overshoot(self):
        curve = Curve({0: 0.0, 1: 0.0, 2: 1.0, 3: 1.0})
        values = [float(curve(z)) for z in np.linspace(0, 3, 61)]
        assert min(values) >= 0
        assert max(values) <= 1


class TestLoft:
    def test_between_two_outlines(self):
        loft = Loft({0.0: ellipse(0, 0, 10, 10), 10.0: ellipse(4, 0, 20, 20)})
        assert loft.at(10.5) is None
        middle = loft.at(5.0)
        assert middle is not None
        assert middle.mean(axis=0) == pytest.approx([2, 0])
        assert np.ptp(middle[:, 0]) == pytest.approx(30)

    def test_the_overrun_closes_like_a_dome(self):
        loft = Loft({0.0: ellipse(0, 0, 10, 10), 10.0: ellipse(0, 0, 10, 10)}, overrun=10.0)
        radii = [np.ptp(loft.at(z)[:, 0]) / 2 for z in (10.0, 16.0, 18.0)]
        assert radii == pytest.approx([10, 8, 6])
        assert loft.at(20.0) is None

    def test_outlines_of_unlike_length_are_refused(self):
        with pytest.raises(ValueError, match="as many points"):
            Loft({0.0: ellipse(0, 0, 1, 1, n=8), 1.0: ellipse(0, 0, 1, 1, n=9)})


class TestTube:
    def test_a_straight_one_is_cut_in_a_disc_of_its_radius(self):
        tube = Tube([(0, 0, -20), (0, 0, 0), (0, 0, 20)], 5.0)
        points, radii = tube.cut(3.0)
        assert radii.max() == pytest.approx(5.0, abs=0.01)
        assert np.allclose(points, 0)
        assert tube.length == pytest.approx(40)

    def test_a_lying_one_is_cut_along_its_length(self):
        points, radii = Tube([(-30, 0, 0), (0, 0, 0), (30, 0, 0)], 5.0).cut(3.0)
        assert np.ptp(points[:, 0]) == pytest.approx(60)
        assert radii == pytest.approx(np.full(len(radii), 4.0))

    def test_marrow_is_thinner_and_nothing_is_left_of_a_thin_one(self):
        tube = Tube([(0, 0, -20), (0, 0, 20)], 5.0)
        assert tube.cut(0.0, shrink=2.0)[1].max() == pytest.approx(3.0)
        assert len(tube.cut(0.0, shrink=5.0)[1]) == 0


class TestOutlines:
    def test_smooth_goes_through_its_corners(self):
        corners = np.array([(0, 0), (10, 0), (12, 9), (-2, 8)], float)
        outline = smooth(corners, n=400)
        distance = np.hypot(*(outline[:, None] - corners).transpose(2, 0, 1)).min(axis=0)
        assert distance.max() < 0.1

    def test_areas(self):
        circle = ellipse(3, 4, 10, 5, n=400)
        assert area(circle) == pytest.approx(np.pi * 50, rel=1e-3)
        assert area(mirrored(circle)) == pytest.approx(-area(circle))
        assert area(moved(scaled(circle, 2.0), 5, 5)) == pytest.approx(4 * area(circle))

    @pytest.mark.parametrize("turned", [1, -1])
    def test_inset_goes_inwards_whatever_the_direction(self, turned):
        circle = ellipse(0, 0, 10, 10, n=200)[::turned]
        assert np.hypot(*inset(circle, 2.0).T) == pytest.approx(np.full(200, 8.0), rel=1e-3)
        assert np.hypot(*inset(circle, -2.0).T) == pytest.approx(np.full(200, 12.0), rel=1e-3)
