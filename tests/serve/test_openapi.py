"""The service against its own OpenAPI: requests drawn from it get answers that it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from hypothesis import HealthCheck, settings

from recbole_fmrlrec.serve.app import build_app
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Limits, Settings
from tests.serve.conftest import write_model


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A server's own description of itself."""
    root = tmp_path_factory.mktemp("openapi") / "shop"
    write_model(root / "16", 16)
    service = Service(Settings(model_dirs=(root,), limits=Limits(history=50, sessions=8)))
    return schemathesis.openapi.from_asgi("/openapi.json", build_app(service))


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_those_of_the_description(case: object) -> None:
    """No 5xx; status, content type and body are in the description."""
    checks = schemathesis.checks
    case.call_and_validate(  # type: ignore[attr-defined]
        checks=[
            checks.not_a_server_error,
            *(
                getattr(schemathesis.specs.openapi.checks, name)
                for name in (
                    "status_code_conformance",
                    "content_type_conformance",
                    "response_schema_conformance",
                )
            ),
        ]
    )


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
