"""Inference over many cases leaves its answers in the store and nowhere else."""

from types import SimpleNamespace

from lib.infers.batch import BatchInfer
from lib.refusals import Refusal


def test_a_case_that_fails_does_not_stop_the_others_and_no_file_stays_behind(tmp_path):
    def infer(request):
        if request["image"] == "ben":
            raise Refusal("There is no L3 here.")
        path = tmp_path / f"{request['image']}.nii.gz"
        path.write_bytes(b"a label")
        return {"file": str(path), "params": {"saved": request["save_label"]}}

    store = SimpleNamespace(list_images=lambda: ["cat", "ben", "ann"])
    results = BatchInfer()({"model": "l3_muscle"}, store, infer)
    assert results == {"ann": {"saved": True}, "ben": {"refused": "There is no L3 here."}, "cat": {"saved": True}}
    assert list(tmp_path.iterdir()) == []
