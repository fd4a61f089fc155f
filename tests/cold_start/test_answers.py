"""Every cold start answers in the geometry of the image, on the slice that was asked for, or says why not."""

import numpy as np
import pytest

from lib.anatomy.schemas import L3_MUSCLE, L3_SLICE, L3_TISSUE, SARCOPENIA
from lib.cold_start.answers import CHOSEN_BY_HAND, L3_INFERIOR_ENDPLATE, NOT_CHECKED
from lib.images import CTImage, read_ct
from lib.refusals import Refusal
from lib.tasks import TASKS


@pytest.fixture(scope="module")
def real_ct(real_ct_path):
    return read_ct(real_ct_path).canonical()


class TestSliceOfTheAnswer:
    def test_it_is_searched_where_none_is_given(self, real_ct):
        answer = TASKS["l3_muscle"].answer(real_ct)
        assert answer.level == L3_INFERIOR_ENDPLATE
        assert 66 <= answer.slice_index <= 79  # L3 in this CT
        assert np.unique(answer.label.nonzero()[2]).tolist() == [answer.slice_index]

    def test_one_chosen_by_hand_is_taken_as_it_is(self, real_ct):
        answer = TASKS["l3_tissue"].answer(real_ct, 74)
        assert (answer.slice_index, answer.level) == (74, CHOSEN_BY_HAND)
        assert any("chosen by hand" in warning for warning in answer.warnings)

    @pytest.mark.parametrize("index", [-1, 112])
    def test_one_outside_the_image_is_refused(self, real_ct, index):
        with pytest.raises(Refusal, match="0 to 111"):
            TASKS["l3_muscle"].answer(real_ct, index)

    def test_a_single_slice_is_the_l3_slice_unchecked_and_the_answer_says_so(self, real_ct):
        single = CTImage(hu=real_ct.hu[:, :, 70:71], affine=real_ct.affine)
        answer = TASKS["l3_muscle"].answer(single)
        assert answer.level == NOT_CHECKED
        assert any("not checked" in warning for warning in answer.warnings)
        assert np.array_equal(answer.label[:, :, 0], TASKS["l3_muscle"].answer(real_ct, 70).label[:, :, 70])

    def test_without_l3_there_is_the_reason_and_the_way_out(self, real_ct):
        pelvis = CTImage(hu=real_ct.hu[:, :, :40], affine=real_ct.affine)
        with pytest.raises(Refusal, match="slice_index"):
            TASKS["sarcopenia"].answer(pelvis)


def test_the_whole_pipeline_holds_what_its_parts_hold(real_ct):
    whole = TASKS["sarcopenia"].answer(real_ct, 70).label[:, :, 70]
    muscle = TASKS["l3_muscle"].answer(real_ct, 70).label[:, :, 70]
    tissue = TASKS["l3_tissue"].answer(real_ct, 70).label[:, :, 70]
    for name in L3_MUSCLE.names:
        assert np.array_equal(whole == SARCOPENIA.ids[name], muscle == L3_MUSCLE.ids[name])
    for name in ("visceral_fat", "l3_subcutaneous_fat"):
        assert np.array_equal(whole == SARCOPENIA.ids[name], tissue == L3_TISSUE.ids[name])


class TestVertebrae:
    def test_they_are_marked_on_bone_from_foot_to_head_in_their_order(self, real_ct):
        answer = TASKS["l3_slice"].answer(real_ct)
        heights = {name: answer.label == i for name, i in L3_SLICE.ids.items()}
        middles = [
            heights[f"vertebra_{name}"].nonzero()[2].mean() for name in ("S1", "L5", "L4", "L3", "L2", "L1", "T12")
        ]
        assert middles == sorted(middles)
        assert real_ct.hu[heights["vertebra_L2"]].mean() > 150
        assert np.unique(heights["l3_slice"].nonzero()[2]).tolist() == [answer.slice_index]
        assert 10 < heights["l3_slice"].sum() * 0.09 < 25  # cm², a vertebral body

    def test_a_slice_chosen_by_hand_gets_a_mark_and_nothing_else(self, real_ct):
        label = TASKS["l3_slice"].answer(real_ct, 20).label
        assert np.unique(label).tolist() == [0, L3_SLICE.ids["l3_slice"]]
        assert np.unique(label.nonzero()[2]).tolist() == [20]
