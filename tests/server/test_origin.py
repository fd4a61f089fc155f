"""Another web site cannot use the server through a visitor's browser."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lib.server.origin import SameOriginOnly


def make_client(**options):
    async def answer(_request):
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST", "PUT", "DELETE"])])
    app.add_middleware(SameOriginOnly, **options)
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def client():
    return make_client(allowed=["https://viewer.example/"])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9000", "null", "http://127.0.0.1:8000.evil"]
)
def test_other_origins_are_refused_before_anything_is_done(client, method, origin):
    response = client.request(method, "/", headers={"Origin": origin})
    assert response.status_code == 403
    assert origin in response.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://127.0.0.1:8000"}, {"Origin": "https://viewer.example"}])
def test_programs_own_pages_and_allowed_sites_are_answered(client, headers):
    assert client.post("/", headers=headers).text == "done"


class TestNames:
    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost"])
    def test_the_names_of_this_machine_are_answered(self, host):
        client = make_client(hosts=["127.0.0.1", "localhost", "::1"])
        assert client.get("/", headers={"Host": host}).text == "done"

    @pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1.evil.example", ""])
    def test_a_name_that_was_made_to_resolve_to_it_is_refused(self, host):
        client = make_client(hosts=["127.0.0.1", "localhost", "::1"])
        rebound = {"Host": host, "Origin": f"http://{host}"}
        assert client.post("/", headers=rebound).status_code == 403
