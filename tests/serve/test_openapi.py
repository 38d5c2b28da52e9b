"""The service against its own OpenAPI: requests drawn from it get answers that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from recbole_fmrlrec.serve.app import build_app
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Settings
from tests.serve.conftest import Start, write_model

#: Requests drawn for each route; what is drawn is the same every time.
EXAMPLES = 5


def test_answers_are_those_of_the_description(start: Start) -> None:
    """No 5xx; status, content type and body are in the description."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    client = start(sessions=64)
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    statuses = set()
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            words = case.as_transport_kwargs(base_url="http://testserver")
            words.pop("cookies", None)
            answer = client.request(**words)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=checks)

        ask()
    assert {200, 201, 404, 422} <= statuses


def test_every_route_is_described(tmp_path: Path) -> None:
    write_model(tmp_path / "16", 16)
    paths = build_app(Service(Settings(model_dirs=(tmp_path,)))).openapi()["paths"]
    assert {f"{method.upper()} {path}" for path, own in paths.items() for method in own} == {
        "POST /recommend",
        "POST /recommend/batch",
        "POST /explain",
        "POST /sessions",
        "POST /sessions/{session_id}/events",
        "GET /sessions/{session_id}/top",
        "GET /sessions/{session_id}",
        "DELETE /sessions/{session_id}",
        "GET /items",
        "GET /items/{item_id}/similar",
        "GET /items/{item_id}/picture",
        "GET /models",
        "POST /models/reload",
        "GET /health",
        "GET /ready",
        "GET /metrics",
    }
