"""The scanner: blur, noise, artefacts, the field of view, and that protocols are those of real scanners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.phantoms.canvas import Grid
from lib.phantoms.field import field_of_view, skin_points
from lib.phantoms.frame import make_frame
from lib.phantoms.person import Person
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner, acquire, draw_scanner
from lib.phantoms.textures import Noise

PLAIN = Scanner(noise_hu=0.0, beam_hardening=0.0)
QUIET = Scanner(noise_hu=0.0, beam_hardening=1.0)


def water(a: float, b: float, mm: float = 1.6, slices: int = 1, field: float = 420.0) -> np.ndarray:
    """An elliptical bath of water with half-axes a and b in mm."""
    n = round(field / mm)
    x = (np.arange(n) - (n - 1) / 2) * mm
    inside = (x[:, None] / a) ** 2 + (x[None, :] / b) ** 2 <= 1
    return np.repeat(np.where(inside, 0.0, -1000.0).astype(np.float32)[:, :, None], slices, axis=2)


def disc(volume: np.ndarray, x: float, y: float, radius: float, hu: float, *, mm: float = 1.6) -> np.ndarray:
    n = volume.shape[0]
    at = (np.arange(n) - (n - 1) / 2) * mm
    volume[(at[:, None] - x) ** 2 + (at[None, :] - y) ** 2 <= radius**2] = hu
    return volume


def scan(volume: np.ndarray, scanner: Scanner, mm: float = 1.6, dz: float = 3.0, seed: int = 0) -> np.ndarray:
    return acquire(volume.copy(), scanner=scanner, spacing=(mm, mm, dz), rng=np.random.default_rng(seed)).astype(float)


def patch(hu: np.ndarray, x: float, y: float, half: float = 16.0, mm: float = 1.6) -> np.ndarray:
    """The middle slice around a place in mm from the middle."""
    i, j = (round(at / mm + (n - 1) / 2) for at, n in zip((x, y), hu.shape[:2], strict=True))
    r = round(half / mm)
    return hu[i - r : i + r + 1, j - r : j + r + 1, hu.shape[2] // 2]


class TestNoise:
    def test_it_has_the_wanted_size_in_an_average_abdomen(self):
        sigma = patch(scan(water(165, 112), Scanner(noise_hu=12.0)), 0, 0).std()
        assert 9 < sigma < 16

    def test_it_grows_with_the_body_and_to_its_middle(self):
        slim, broad = (scan(water(a, b), Scanner(noise_hu=12.0)) for a, b in ((140, 95), (195, 140)))
        assert patch(broad, 0, 0).std() > 1.4 * patch(slim, 0, 0).std()
        assert patch(broad, 0, 0).std() > 1.1 * patch(broad, 160, 0).std()

    def test_thin_slices_have_more_of_it(self):
        thin, thick = (patch(scan(water(165, 112), Scanner(), dz=dz), 0, 0).std() for dz in (1.0, 5.0))
        assert thin / thick == pytest.approx(5**0.5, rel=0.25)

    def test_its_grain_is_coarser_with_a_soft_kernel_whatever_the_voxels(self):
        def correlation(kernel: str, mm: float) -> float:
            noise = patch(scan(water(165, 112, mm), Scanner(kernel=kernel), mm), 0, 0, 40.0, mm)
            lag = round(1.6 / mm)
            return float(np.corrcoef(noise[lag:].ravel(), noise[:-lag].ravel())[0, 1])

        assert correlation("soft", 0.8) > correlation("standard", 0.8) > correlation("sharp", 0.8)

    def test_it_has_no_bias(self):
        volume = water(165, 112)
        difference = scan(volume, Scanner(beam_hardening=0.0)) - scan(volume, PLAIN)
        assert abs(patch(difference, 0, 0, 60.0).mean()) < 0.6


class TestBlur:
    def test_a_sharp_kernel_keeps_edges_and_overshoots(self):
        volume = disc(water(165, 112, 0.8), 0, 0, 30, 100, mm=0.8)
        rows = {k: patch(scan(volume, replace(PLAIN, kernel=k), 0.8), 30, 0, 8, 0.8) for k in ("soft", "sharp")}
        steepest = {k: np.abs(np.diff(row, axis=0)).max() for k, row in rows.items()}
        assert steepest["sharp"] > 1.3 * steepest["soft"]
        assert rows["sharp"].max() > 102 >= rows["soft"].max()

    def test_flat_parts_keep_their_hu(self):
        assert (patch(scan(water(165, 112), PLAIN), 0, 0) == 0).all()


class TestArtefacts:
    def test_beam_hardening_darkens_the_band_between_dense_bones(self):
        volume = water(180, 115)
        for x in (-90, 90):
            disc(volume, x, 0, 24, 700)
        change = scan(volume, QUIET) - scan(volume, PLAIN)
        assert patch(change, 0, 0, 5).mean() < patch(change, 0, 60, 5).mean() - 8

    def test_metal_saturates_and_leaves_dark_bands_and_streaks(self):
        volume = water(165, 112)
        clean = scan(volume, PLAIN)
        for x in (-30, 30):
            disc(volume, x, 0, 5, 6000)
        metal = scan(volume, PLAIN)
        assert metal.max() == 3071
        # darkest between the pieces, on the rays through both
        assert patch(metal, 0, 0, 2).mean() < patch(metal, 0, 60, 2).mean() - 40
        # streaks all around, weaker with the distance, that leave the mean as it is
        change = metal - clean
        assert patch(change, 0, 25, 10).std() > 1.15 * patch(change, 0, 90, 10).std() > 5
        assert abs(patch(change, 0, 70, 25).mean()) < 10

    def test_metal_reaches_its_own_slices_only(self):
        volume = water(165, 112, slices=3)
        disc(volume[:, :, 1:2], 0, 0, 5, 6000)
        hu = scan(volume, PLAIN)
        assert (hu[:, :, 0] == scan(water(165, 112), PLAIN)[:, :, 0]).all()

    def test_streaks_run_from_side_to_side_where_the_body_is_broad(self):
        def along(a: float) -> float:
            hu = patch(scan(water(a, 80, field=520), Scanner(noise_hu=15)), 0, 0, 30)
            return float(np.corrcoef(hu[5:].ravel(), hu[:-5].ravel())[0, 1])

        assert along(245) > along(150) + 0.1

    def test_outside_the_circle_nothing_is_reconstructed(self):
        hu = scan(water(165, 112), Scanner(circle=True))
        assert (hu[[0, 0, -1, -1], [0, -1, 0, -1]] == -1024).all()
        assert (hu[:40, :40] == -1024).mean() > 0.9
        assert (patch(hu, 0, 0) > -200).all()


class TestFieldOfView:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    @pytest.mark.parametrize("circle", [False, True])
    def test_it_holds_the_body(self, seed, circle):
        frame = make_frame(Person(), seed)
        field = field_of_view(frame, -100.0, 250.0, circle=circle)
        away = (skin_points(frame, -100.0, 250.0) - (field.x, field.y)) * frame.width_scale
        reach = np.sqrt((away**2).sum(axis=1)) if circle else np.abs(away).max(axis=1)
        assert 10 <= field.side_mm / 2 - reach.max() <= 40

    def test_only_truncation_cuts_the_body_off(self):
        frames = [make_frame(Person(conditions={"truncated": s}), 2) for s in (0, 0.5, 1)]
        sides = [field_of_view(frame, -100.0, 250.0).side_mm for frame in frames]
        assert sides[0] > sides[1] > sides[2]
        at_l3 = skin_points(frames[0], 0.0, 0.0)[:, 0] * frames[0].width_scale
        assert sides[0] > np.ptp(at_l3) > sides[2]

    def test_a_phantom_reaches_its_border_only_when_truncated(self, equipped):
        cut = Phantom(3, shape=(48, 48, 8), conditions={"truncated": 1.0})
        for phantom, reaches in ((equipped, False), (cut, True)):
            body = phantom.label("body_composition") > 0
            assert (body[0] | body[-1]).any() == reaches

    def test_a_field_that_is_asked_for_is_used(self, equipped):
        assert equipped.spacing[:2] == (420 / 96, 420 / 96)


@pytest.fixture(scope="module")
def equipped() -> Phantom:
    """A patient with screws in the spine on the scanner's table, in a field that was asked for."""
    scanner = Scanner(orientation="RAS", field_mm=420.0)
    return Phantom(3, shape=(96, 96, 24), conditions={"metal": 1.0, "table": 1.0}, scanner=scanner)


class TestHardware:
    def test_screws_are_metal_in_the_spine_and_bone_in_the_labels(self, equipped):
        metal = equipped.structure("metal")
        assert metal.any()
        assert set(np.unique(equipped.label("body_composition")[metal])) == {BODY_COMPOSITION["bone"].id}
        assert (equipped.image.hu[metal] > 1000).mean() > 0.7

    def test_the_table_lies_behind_the_body_and_has_no_label(self, equipped):
        table = equipped.structure("table_shell", "table_foam")
        body = equipped.label("body_composition") > 0
        assert table.any()
        assert not (table & body).any()
        assert np.nonzero(table)[1].max() < np.nonzero(body)[1].mean()


def test_protocols_are_those_of_real_scanners():
    drawn = [draw_scanner(np.random.default_rng(seed)) for seed in range(300)]
    assert {s.kernel for s in drawn} == {"soft", "standard", "sharp"}
    assert {s.kvp for s in drawn} == {80, 100, 120, 140}
    assert all(1 <= s.slice_mm <= 7 and 4 <= s.noise_hu <= 35 for s in drawn)
    assert np.mean([s.kvp == 120 for s in drawn]) > 0.45
    for field in (320.0, 500.0):
        assert all(0.6 <= field / s.matrix <= 1.4 for s in drawn)


def test_a_scan_of_the_same_seed_is_the_same():
    volume = water(165, 112)
    assert np.array_equal(scan(volume, Scanner()), scan(volume, Scanner()))
    assert not np.array_equal(scan(volume, Scanner()), scan(volume, Scanner(), seed=1))


def test_patterns_have_mean_0_and_spread_1_at_any_size():
    for size in ((3.0, 3.0, 8.0), (11.0, 9.0, 16.0)):
        noise = Noise(np.random.default_rng(3), size)
        values = np.stack([noise.at(Grid(0, 2.7, 200, 0, 2.7, 200), 13.0 * k) for k in range(12)])
        assert abs(values.mean()) < 0.08
        assert values.std() == pytest.approx(1, abs=0.08)
