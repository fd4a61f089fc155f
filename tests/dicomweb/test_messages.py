"""Messages of several parts, what is accepted, what is answered to who stores, and pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lib.dicomweb import media, rendering, storing
from lib.dicomweb.multipart import Part, compose, parse
from lib.refusals import Refusal

PLAIN, JPEG2000, JPEGLS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"


class TestParts:
    def test_come_back_whatever_their_bytes_are(self):
        contents = [b"", bytes(range(256)) * 50, b"\r\n--", b"\r\n\r\n"]
        body, kind = compose(Part(media_type="application/dicom", content=content) for content in contents)
        assert [part.content for part in parse(body, kind)] == contents
        assert 'type="application/dicom"' in kind
        assert {part.media_type for part in parse(body, kind)} == {"application/dicom"}

    @pytest.mark.parametrize(
        ("body", "kind", "status"),
        [
            (b"x", "application/json", 415),
            (b"x", "", 415),
            (b"x", "multipart/related", 400),
            (b"no boundary here", "multipart/related; boundary=b", 400),
            (b"--b\r\nContent-Type: application/dicom\r\n\r\nabc", "multipart/related; boundary=b", 400),
        ],
    )
    def test_broken_messages_are_refused(self, body, kind, status):
        with pytest.raises(Refusal) as caught:
            parse(body, kind)
        assert caught.value.status_code == status


class TestAccepted:
    @pytest.mark.parametrize(
        ("header", "stored", "plain", "single"),
        [
            ("multipart/related; type=application/octet-stream; transfer-syntax=*", JPEG2000, False, False),
            ('multipart/related; type="application/octet-stream"; transfer-syntax=*', JPEG2000, False, False),
            ("multipart/related; type=application/octet-stream", JPEG2000, True, False),
            ("multipart/related; type=image/jp2", JPEG2000, False, False),
            (f"multipart/related; type=image/jls; transfer-syntax={JPEGLS}", JPEGLS, False, False),
            (f"multipart/related; type=image/jp2; transfer-syntax={JPEG2000}, */*", JPEGLS, True, False),
            ("*/*", JPEG2000, True, False),
            ("", PLAIN, True, False),
            ("application/octet-stream", PLAIN, True, True),
            ("image/jp2", JPEG2000, False, True),
        ],
    )
    def test_the_first_form_in_which_frames_can_be_sent(self, header, stored, plain, single):
        assert media.frame_form(media.accepted(header), stored) == media.FrameForm(plain=plain, single=single)

    @pytest.mark.parametrize("header", ["text/html", f"multipart/related; type=image/jls; transfer-syntax={JPEGLS}"])
    def test_there_may_be_none(self, header):
        with pytest.raises(Refusal) as caught:
            media.frame_form(media.accepted(header), JPEG2000)
        assert caught.value.status_code == 406


class TestStored:
    good = storing.Outcome(sop_class="1.2", sop="1.3", url="http://h/1.3")
    bad = storing.Outcome(sentence="It is damaged.", status=422)

    def test_all_some_and_none(self):
        assert storing.answer([self.good], "http://h")[0] == 200
        status, told = storing.answer([self.good, self.bad], "http://h")
        assert status == 202
        assert told["00081199"]["Value"][0]["00081155"]["Value"] == ["1.3"]
        assert told["00081198"]["Value"][0]["00000902"]["Value"] == ["It is damaged."]
        assert storing.answer([self.bad], "")[0] == 422

    def test_what_was_kept_but_counts_for_nothing_has_a_warning(self):
        kept = storing.Outcome(sop_class="1.2", sop="1.3", url="http://h/1.3", sentence="No case fits.")
        status, told = storing.answer([kept], "http://h")
        assert status == 202
        assert "00081196" in told["00081199"]["Value"][0]
        assert "00081198" not in told


CT = {"00080060": {"Value": ["CT"]}, "00281052": {"Value": [-1000]}, "00281053": {"Value": [2]}}


class TestPictures:
    def show(self, values, **options):
        return np.array(Image.open(io.BytesIO(rendering.picture(values, media_type="image/png", **options))))

    def test_a_ct_is_shown_in_the_window_of_soft_tissue_after_rescaling(self):
        stored = np.array([[425, 525, 625]])  # -150, 50 and 250 HU
        assert self.show(stored, header=CT).tolist() == [[0, 127, 255]]
        assert self.show(stored, header=CT, window="250,1").tolist() == [[0, 0, 127]]

    def test_pixels_are_square_and_the_size_is_bounded(self):
        header = CT | {"00280030": {"Value": [2.0, 1.0]}}
        assert self.show(np.zeros((10, 20)), header=header).shape == (20, 20)
        assert self.show(np.zeros((10, 20)), header=header, size="8,4").shape == (4, 4)

    @pytest.mark.parametrize("options", [{"window": "x"}, {"size": "1"}])
    def test_nonsense_is_refused(self, options):
        with pytest.raises(Refusal) as caught:
            rendering.picture(np.zeros((2, 2)), CT, **options)
        assert caught.value.status_code == 400
