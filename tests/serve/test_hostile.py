"""Nothing that a client sends is the server's mistake: no 500, and the next client is answered. `benchmarks/hostile.py` sends 10,000."""

import json
from random import Random

import httpx2

from instil.serve.app import make_app
from tests.serve.hostile import request
from tests.serve.served import listening, served


def test_hostile_requests() -> None:
    models = [served("tiny"), served("tools", template=None, choice="chatml", seed=1)]
    random, seen = Random(0), set()
    with listening(make_app(models)) as url, httpx2.Client(base_url=url, timeout=30) as client:
        for _ in range(400):
            method, path, body = request(random, ("tiny", "tools"))
            response = client.request(method, path, content=body)
            seen.add(response.status_code)
            assert response.status_code in (200, 400, 404, 405), (method, path, body[:300], response.text[:300])
            if response.status_code != 200 and method != "HEAD" and response.text:
                assert json.loads(response.text)["error"]["message"]
        assert client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", "max_tokens": 2}).status_code == 200
    assert {200, 400} <= seen
    for one in models:
        one.engine.close()
