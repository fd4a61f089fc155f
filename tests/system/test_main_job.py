"""The main job through MONAI Label's own client: segment, measure, correct, save, next case."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from monailabel.client.client import MONAILabelClientException

from lib.anatomy.schemas import L3_MUSCLE, L3_TISSUE, SCHEMAS
from lib.stores import CaseStore
from lib.tasks import ANSWERING_TASKS

# On the real CT the inferior endplate of L3 lies at about slice 68 of 3 mm, L3 itself up to slice 79.
L3_SLICES = range(66, 80)


@pytest.fixture
def client(server):
    return server.client()


def infer(server, name, image="case_a", **params):
    label, answer = server.client().infer(name, image, params)
    array = np.asarray(nib.load(label).dataobj)
    Path(label).unlink()
    return array, answer


def slicer_label_info(own_names: dict[str, int]) -> list[dict]:
    """As Slicer sends it: every segment of every task by name, with numbers of Slicer's own."""
    names = [name for schema in SCHEMAS.values() for name in schema.shown.names if name not in own_names]
    empty = [{"name": name, "idx": 100 + i} for i, name in enumerate(dict.fromkeys(names))]
    return empty + [{"name": name, "idx": idx} for name, idx in own_names.items()]


def save(server, path, own_names, image="case_a", client_id="user-xyz", **params):
    return server.client(client_id).save_label(
        image, str(path), params={"label_info": slicer_label_info(own_names), **params}
    )


class TestInfo:
    def test_every_task_is_there_with_its_names_in_the_order_of_their_ids(self, client):
        info = client.info()
        assert set(info["models"]) == set(ANSWERING_TASKS)
        assert isinstance(info["labels"], list)
        for name, model in info["models"].items():
            assert list(model["labels"]) == list(SCHEMAS[name].shown.names)
            assert set(model["labels"]) <= set(info["labels"])
            assert model["type"] == "segmentation"

    def test_the_page_at_the_address_says_what_is_here_and_needs_no_other_site(self, server, request):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own page loads its scripts from another site")
        page = requests.get(f"{server.url}/", timeout=20)
        assert f"<code>{server.url}</code>" in page.text
        assert "Cases: 2, with a label: 0" in page.text
        assert all(name in page.text for name in ANSWERING_TASKS)
        assert "<script" not in page.text

    def test_strategies_let_the_task_be_chosen(self, client):
        for strategy in client.info()["strategies"].values():
            assert "l3_muscle" in strategy["config"]["task"]


class TestInference:
    def test_l3_muscle_labels_only_the_l3_slice_in_the_geometry_of_the_image(self, server, real_ct_path):
        label, params = infer(server, "l3_muscle")
        image = nib.load(real_ct_path)
        assert label.shape == image.shape
        assert set(np.unique(label)) == {0, 1, 2, 3}
        assert np.unique(label.nonzero()[2]).tolist() == [params["slice_index"]]
        assert params["slice_index"] in L3_SLICES
        assert params["method"] == "thresholds"
        assert params["model_version"] is None
        assert params["label_names"] == L3_MUSCLE.ids
        assert 0 <= params["uncertainty"]["score"] <= 1
        assert isinstance(params["warnings"], list)

    def test_measurements_are_those_of_the_label_that_came_with_them(self, server, real_ct_path):
        label, params = infer(server, "l3_muscle")
        hu = nib.load(real_ct_path).get_fdata()
        regions = params["measurements"]["regions"]
        psoas = hu[label == 1]
        assert regions["psoas"]["area_cm2"] == pytest.approx(psoas.size * 0.09, abs=0.01)
        assert regions["psoas"]["mean_hu"] == pytest.approx(psoas.mean(), abs=0.01)
        in_range = hu[(label > 0) & (hu >= -29) & (hu <= 150)]
        assert regions["skeletal_muscle"]["muscle_range_area_cm2"] == pytest.approx(in_range.size * 0.09, abs=0.01)

    def test_the_index_needs_the_height_and_the_call_the_sex_as_well(self, server):
        _, without = infer(server, "l3_muscle")
        assert without["measurements"]["indices"].get("smi_cm2_m2") is None
        assert any("height" in warning for warning in without["warnings"])
        _, known = infer(server, "l3_muscle", height_m=1.75, sex="M")
        area = known["measurements"]["regions"]["skeletal_muscle"]["muscle_range_area_cm2"]
        assert known["measurements"]["indices"]["smi_cm2_m2"] == pytest.approx(area / 1.75**2, abs=0.01)
        prado = next(c for c in known["measurements"]["calls"] if c["cutoff"].startswith("prado_2008"))
        assert prado["threshold"] == 52.4
        assert "sarcopenia" not in json.dumps(known["measurements"]["calls"]).lower().replace("sarcopenic", "")

    def test_a_slice_chosen_by_hand_is_taken(self, server):
        label, params = infer(server, "l3_muscle", slice_index="75")
        assert params["slice_index"] == 75
        assert np.unique(label.nonzero()[2]).tolist() == [75]

    @pytest.mark.parametrize("name", ANSWERING_TASKS)
    def test_every_task_answers_with_its_own_names_only(self, server, name):
        label, params = infer(server, name)
        values = set(np.unique(label)) - {0}
        assert values
        assert values <= set(SCHEMAS[name].shown.ids.values())
        assert params["label_names"] == SCHEMAS[name].shown.ids

    def test_ohif_gets_raw_bytes_behind_a_nrrd_header(self, server, real_ct_path):
        wanted = {
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
            "result_compress": False,
            "restore_label_idx": False,
        }
        response = requests.post(
            f"{server.url}/infer/l3_muscle?image=case_a&output=image", data={"params": json.dumps(wanted)}, timeout=60
        )
        assert response.status_code == 200
        voxels = int(np.prod(nib.load(real_ct_path).shape))
        label = np.frombuffer(response.content[-voxels:], np.uint8)
        assert set(np.unique(label)) == {0, 1, 2, 3}
        assert response.content[:4] == b"NRRD"


class TestTheLoop:
    def test_next_case_correct_save_and_the_case_is_done(self, server, client, tmp_path):
        first = client.next_sample("first", {"task": "l3_muscle"})
        assert first["id"] == "case_a"
        assert Path(first["path"]).is_file()
        assert first["name"] == "case_a.nii.gz"

        label, _ = infer(server, "l3_muscle")
        corrected = np.where(label == 1, 7, np.where(label == 2, 9, np.where(label == 3, 4, 0))).astype(np.int16)
        row, column, k = (axis[0] for axis in np.nonzero(corrected == 7))
        corrected[row, column, k] = 0
        image = nib.load(first["path"])
        nib.save(nib.Nifti1Image(corrected, image.affine), tmp_path / "label.nii.gz")
        result = save(server, tmp_path / "label.nii.gz", {"psoas": 7, "paraspinal": 9, "abdominal_wall": 4})
        assert result["label"] == "case_a"

        stored = np.asarray(nib.load(client.download_label("case_a", "final")).dataobj)
        expected = label.copy()
        expected[row, column, k] = 0
        assert np.array_equal(stored, expected)

        info = requests.get(f"{server.url}/datastore/label/info?label=case_a&tag=final", timeout=20).json()
        assert info["params"]["label_names"] == L3_MUSCLE.ids
        assert info["client_id"] == "user-xyz"
        status = client.info()["datastore"]
        assert status["total"] == 2
        assert status["completed"] == 1
        assert client.datastore()["objects"]["case_a"]["labels"]["final"]
        assert client.next_sample("first", {"task": "l3_muscle"})["id"] == "case_b"
        assert client.next_sample("first", {"task": "l3_tissue"})["id"] == "case_a"

        _, again = infer(server, "l3_muscle")
        overlap = again["measurements"]["dice_with_saved_label"]
        assert overlap["paraspinal"] == 1.0
        assert 0.9 < overlap["psoas"] < 1.0

    def test_a_saved_sarcopenia_label_becomes_one_of_muscle_and_one_of_tissue(self, server, tmp_path):
        label, params = infer(server, "sarcopenia", image="case_b")
        image = nib.load(server.studies / "case_b.nii.gz")
        nib.save(nib.Nifti1Image(label, image.affine), tmp_path / "label.nii.gz")
        save(server, tmp_path / "label.nii.gz", params["label_names"], image="case_b", model="sarcopenia")
        tissue = np.asarray(nib.load(server.client().download_label("case_b", "l3_tissue")).dataobj)
        muscle = np.asarray(nib.load(server.client().download_label("case_b", "l3_muscle")).dataobj)
        assert np.array_equal(tissue == L3_TISSUE.ids["skeletal_muscle"], muscle > 0)
        assert np.array_equal(muscle == L3_MUSCLE.ids["psoas"], label == params["label_names"]["psoas"])


def test_an_inference_leaves_its_score_under_the_task_that_the_queue_goes_by(server):
    for task in ("l3_muscle", "sarcopenia"):
        infer(server, task)
    store = CaseStore(server.studies)
    assert "case_a" in store.scores("l3_muscle", "disagreement")
    assert store.scores("sarcopenia", "disagreement") == {}
    store.close()


class TestBadRequests:
    """Every one gets a 4xx with a sentence, and changes nothing."""

    def refused(self, response) -> str:
        assert 400 <= response.status_code < 500, response.text
        return response.json()["detail"]

    @pytest.mark.parametrize("image", ["../case_a", "/etc/passwd", "nothing", "case_a.nii.gz/..", "..", "%2e%2e"])
    def test_an_image_that_is_no_case(self, server, image):
        response = requests.post(f"{server.url}/infer/l3_muscle", params={"image": image}, timeout=20)
        assert self.refused(response)

    def test_a_file_in_the_working_directory_is_no_case(self, server):
        name = next(p.name for p in Path.cwd().iterdir())
        self.refused(requests.post(f"{server.url}/infer/l3_muscle", params={"image": name}, timeout=20))

    def test_an_unknown_model_and_an_unknown_strategy(self, server):
        assert "no model" in self.refused(requests.post(f"{server.url}/infer/nothing?image=case_a", timeout=20))
        assert "no strategy" in self.refused(requests.post(f"{server.url}/activelearning/nothing", json={}, timeout=20))
        bad_task = requests.post(f"{server.url}/activelearning/first", json={"task": "liver"}, timeout=20)
        assert "no task" in self.refused(bad_task)

    @pytest.mark.parametrize("slice_index", ["112", "-1", "middle", "3.5"])
    def test_a_slice_that_is_none(self, server, slice_index):
        data = {"params": json.dumps({"slice_index": slice_index})}
        response = requests.post(f"{server.url}/infer/l3_muscle?image=case_a", data=data, timeout=20)
        assert "slice_index" in self.refused(response)

    def test_a_page_of_another_site(self, server, request):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own ASGI app allows every origin; README says so")
        evil = {"Origin": "http://evil.example"}
        assert requests.get(f"{server.url}/info/", headers=evil, timeout=20).status_code == 403
        assert requests.options(f"{server.url}/datastore/image", headers=evil, timeout=20).status_code == 403
        own = {"Origin": server.url}
        assert requests.get(f"{server.url}/info/", headers=own, timeout=20).status_code == 200

    def test_params_that_choose_files(self, server, request, real_ct_path):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own ASGI app merges params into the request before the app sees it")
        for key, value in {"image": str(real_ct_path), "label": "/etc/passwd", "label_tag": "final"}.items():
            data = {"params": json.dumps({key: value})}
            response = requests.post(f"{server.url}/infer/l3_muscle?image=case_a", data=data, timeout=20)
            assert key in self.refused(response)

    @pytest.mark.parametrize("field", ["nope", "[]", "null", '"text"', "[" * 100_000])
    def test_params_and_info_that_are_no_json_object(self, server, request, field):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own ASGI app parses them before it asks the app")
        for path, form in {"label/info?label=case_a&tag=final": "info", "image/info?image=case_a": "info"}.items():
            assert "info" in self.refused(
                requests.put(f"{server.url}/datastore/{path}", data={form: field}, timeout=20)
            )
        files = {"label": ("x.nii.gz", b"x"), "file": ("x.nii.gz", b"x")}
        for path in ("label?image=case_a", "image?image=new"):
            put = requests.put(f"{server.url}/datastore/{path}", data={"params": field}, files=files, timeout=20)
            assert "params" in self.refused(put)

    def test_uploads_that_are_no_image_are_told_without_the_servers_own_names(self, server):
        for name, content in {"ct.nii.gz": b"rubbish", "ct.nii": b"", "ct.txt": b"text"}.items():
            files = {"file": (name, content)}
            sentence = self.refused(requests.post(f"{server.url}/infer/l3_muscle", files=files, timeout=20))
            assert "uploaded file" in sentence
            assert "tmp" not in sentence
        session = requests.put(f"{server.url}/session/", files={"files": ("ct.nii.gz", b"rubbish")}, timeout=20).json()
        name = {"session_id": session["session_id"]}
        sentence = self.refused(requests.post(f"{server.url}/infer/l3_muscle", params=name, timeout=20))
        assert session["session_info"]["path"] not in sentence
        assert requests.delete(f"{server.url}/session/{session['session_id']}", timeout=20).status_code == 200
        assert "session" in self.refused(requests.post(f"{server.url}/infer/l3_muscle", params=name, timeout=20))

    def test_a_training_and_a_scoring_that_do_not_exist(self, server):
        for what in ("train", "scoring"):
            self.refused(requests.post(f"{server.url}/{what}/nothing?run_sync=true", json={}, timeout=20))

    def test_a_training_without_labels_enough(self, server):
        url = f"{server.url}/train/l3_tissue?run_sync=true"
        assert "of l3_tissue" in self.refused(requests.post(url, json={}, timeout=20))
        assert "huge" in self.refused(requests.post(url, json={"preset": "huge"}, timeout=20))

    def test_a_training_without_labels_enough_starts_no_job(self, server, request):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own ASGI app asks the app only within the job")
        for what in ("train/l3_tissue", "train/"):
            sentence = self.refused(requests.post(f"{server.url}/{what}", json={}, timeout=20))
            assert "of l3_tissue" in sentence
            assert "then train" in sentence
        assert requests.get(f"{server.url}/train/", timeout=20).status_code == 404

    def test_what_a_model_answered_is_never_a_final_label(self, server):
        before = server.client().info()["datastore"]
        data = {"params": json.dumps({"save_label": True, "label_tag": "final"})}
        self.refused(requests.post(f"{server.url}/infer/l3_muscle?image=case_a", data=data, timeout=20))
        assert server.client().info()["datastore"] == before

    def test_a_path_in_params_is_never_read(self, server, real_ct_path):
        data = {"params": json.dumps({"image": str(real_ct_path)})}
        self.refused(requests.post(f"{server.url}/infer/l3_muscle?image=case_a", data=data, timeout=20))

    def test_whole_slide_inference(self, server):
        self.refused(requests.post(f"{server.url}/infer/wsi/l3_muscle?image=case_a", json={}, timeout=20))

    @pytest.mark.parametrize("image", ["../x", "a/b", "..", "/x"])
    def test_an_upload_under_a_name_that_leaves_the_folder(self, server, image, real_ct_path):
        workspace = server.studies / "sarcopenia"

        def files() -> list[Path]:
            """All but what the server itself does in its workspace meanwhile (SQLite's files, the DICOM it makes)."""
            return sorted(p for p in server.studies.parent.rglob("*") if workspace not in p.parents)

        before = files(), server.client().datastore()["objects"].keys()
        with real_ct_path.open("rb") as file:
            response = requests.put(
                f"{server.url}/datastore/image", params={"image": image}, files={"file": ("x.nii.gz", file)}, timeout=60
            )
        self.refused(response)
        assert (files(), server.client().datastore()["objects"].keys()) == before
        assert not [p for name in ("x", "b") for p in workspace.rglob(f"{name}.*")]

    def test_an_upload_that_is_no_ct(self, server):
        response = requests.put(
            f"{server.url}/datastore/image?image=bad", files={"file": ("x.nii.gz", b"ten bytes!")}, timeout=20
        )
        self.refused(response)
        assert not list(server.studies.glob("bad*"))

    @pytest.mark.parametrize("kind", ["shape", "affine", "fraction", "unknown name", "empty", "rubbish", "tag"])
    def test_a_label_that_does_not_fit(self, server, kind, tmp_path):
        image = nib.load(server.studies / "case_a.nii.gz")
        array, affine, names, tag = np.zeros(image.shape, np.float32), image.affine.copy(), {"psoas": 1}, "final"
        array[50:60, 50:60, 68] = 1
        if kind == "shape":
            array = array[:, :, :-1]
        elif kind == "affine":
            affine[2, 3] += 30
        elif kind == "fraction":
            array[50, 50, 68] = 0.5
        elif kind == "unknown name":
            names = {"spleen": 1}
        elif kind == "empty":
            array[:] = 0
        elif kind == "tag":
            tag = "../../x"
        path = tmp_path / "label.nii.gz"
        nib.save(nib.Nifti1Image(array, affine), path)
        if kind == "rubbish":
            path.write_bytes(b"ten bytes!")
        before = server.client().info()["datastore"], sorted(server.studies.rglob("*.nii.gz"))
        with path.open("rb") as file:
            response = requests.put(
                f"{server.url}/datastore/label",
                params={"image": "case_a", "tag": tag},
                data={"params": json.dumps({"label_info": [{"name": n, "idx": i} for n, i in names.items()]})},
                files={"label": ("label.nii.gz", file)},
                timeout=30,
            )
        sentence = self.refused(response)
        assert sentence[0].isupper() or sentence.startswith("label")
        assert (server.client().info()["datastore"], sorted(server.studies.rglob("*.nii.gz"))) == before

    def test_the_client_shows_the_sentence(self, server):
        with pytest.raises(MONAILabelClientException, match=r"outside the image"):
            server.client().infer("l3_muscle", "case_a", {"slice_index": "4000"})


class TestUploads:
    def test_an_uploaded_ct_and_one_in_a_session_are_answered_like_a_case(self, server, real_ct_path):
        asked = {"output": "json"}
        case = requests.post(f"{server.url}/infer/l3_muscle?image=case_a", params=asked, timeout=60).json()
        files = {"file": ("Of somebody.nii.gz", real_ct_path.read_bytes())}
        upload = requests.post(f"{server.url}/infer/l3_muscle", params=asked, files=files, timeout=60).json()
        files = {"files": ("ct.nii.gz", real_ct_path.read_bytes())}
        session = requests.put(f"{server.url}/session/", files=files, timeout=60).json()["session_id"]
        asked["session_id"] = session
        in_session = requests.post(f"{server.url}/infer/l3_muscle", params=asked, timeout=60).json()
        requests.delete(f"{server.url}/session/{session}", timeout=20)
        assert case["measurements"]["regions"] == upload["measurements"]["regions"]
        assert case["measurements"]["regions"] == in_session["measurements"]["regions"]

    def test_a_batch_answers_every_case_and_keeps_the_answers_out_of_the_final_labels(self, server):
        before = requests.get(f"{server.url}/datastore/", timeout=20).json()["completed"]
        asked = {"max_batch_size": 2, "label_tag": "batch"}
        reply = requests.post(f"{server.url}/batch/infer/l3_muscle?images=all&run_sync=true", json=asked, timeout=120)
        assert set(reply.json()) == {"case_a", "case_b"}
        status = requests.get(f"{server.url}/datastore/", timeout=20).json()
        assert (status["completed"], status["label_tags"]["batch"]) == (before, 2)


class TestNewFiles:
    def test_a_ct_dropped_into_the_folder_is_a_case(self, server, real_ct_path):
        (server.studies / "dropped.nii.gz").write_bytes(real_ct_path.read_bytes())
        assert "dropped" in server.client().datastore()["objects"]
        assert requests.head(f"{server.url}/datastore/image?image=dropped", timeout=20).status_code == 200
        (server.studies / "dropped.nii.gz").unlink()
        assert requests.head(f"{server.url}/datastore/image?image=dropped", timeout=20).status_code == 404

    def test_a_broken_file_is_a_case_that_answers_with_the_reason(self, server):
        (server.studies / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
        response = requests.post(f"{server.url}/infer/l3_muscle?image=broken", timeout=20)
        (server.studies / "broken.nii.gz").unlink()
        assert response.status_code == 422
        assert "broken.nii.gz" in response.json()["detail"]

    def test_a_head_has_no_l3_and_the_answer_says_so(self, server):
        x, y, z = np.mgrid[-60:60, -60:60, -60:60] * 2.0
        radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 90) ** 2)
        head = np.select([radius < 0.9, radius < 1.0, radius < 1.08], [35, 900, 20], -1000).astype(np.int16)
        nib.save(nib.Nifti1Image(head, np.diag([2.0, 2.0, 2.0, 1.0])), server.studies / "head.nii.gz")
        response = requests.post(f"{server.url}/infer/l3_muscle?image=head", timeout=30)
        (server.studies / "head.nii.gz").unlink()
        assert response.status_code == 422
        assert "L3" in response.json()["detail"]

    def test_a_series_without_identifiers_is_a_case_that_says_what_is_missing(self, server, shared_data):
        shutil.copytree(shared_data / "ct_series_without_uids", server.studies / "anonymous")
        response = requests.post(f"{server.url}/infer/l3_muscle?image=anonymous", timeout=30)
        # Of a task that nobody here labels; a case that was handed out is not handed out again.
        offered = {server.client().next_sample("random", {"task": "thigh_muscles"}).get("id") for _ in range(5)}
        shutil.rmtree(server.studies / "anonymous")
        assert response.status_code == 422
        assert "SeriesInstanceUID" in response.json()["detail"]
        assert offered == {"case_a", "case_b", None}


class TestSeveralAtOnce:
    def test_others_are_answered_while_an_inference_runs(self, server, request):
        if request.node.callspec.params["server"] == "start_server":
            pytest.skip("MONAI Label's own ASGI app answers one after the other")
        with ThreadPoolExecutor() as pool:
            inference = pool.submit(infer, server, "body_composition")
            answers = 0
            while not inference.done():
                requests.get(f"{server.url}/info/", timeout=60).raise_for_status()
                answers += not inference.done()
            assert inference.result()[1]["method"] == "thresholds"
        assert answers >= 3

    def test_two_people_infer_and_save_at_once(self, server, tmp_path):
        image = nib.load(server.studies / "case_a.nii.gz")
        label = np.zeros(image.shape, np.uint8)
        label[50:60, 50:60, 68] = 1
        nib.save(nib.Nifti1Image(label, image.affine), tmp_path / "label.nii.gz")

        def work(person: str) -> None:
            for _ in range(3):
                infer(server, "l3_muscle", slice_index="70")
                save(server, tmp_path / "label.nii.gz", {"psoas": 1}, client_id=person)

        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(work, person) for person in ("anna", "ben")]:
                done.result()
        info = requests.get(f"{server.url}/datastore/label/info?label=case_a&tag=l3_muscle", timeout=20).json()
        revisions = range(info["revision"] - 5, info["revision"] + 1)
        authors = [
            requests.get(f"{server.url}/datastore/label/info?label=case_a&tag=l3_muscle@{n}", timeout=20).json()[
                "client_id"
            ]
            for n in revisions
        ]
        assert sorted(authors) == ["anna"] * 3 + ["ben"] * 3
