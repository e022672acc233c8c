"""The OpenAPI document describes what the server does."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from palmetto.serving.app import application
from palmetto.serving.openapi import document
from palmetto.serving.parameters import Chat, Completion
from palmetto.serving.state import Server

SCHEMA = schemathesis.openapi.from_dict(document())


def test_the_document_names_every_parameter(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Completion"]["properties"].keys() == Completion.model_fields.keys()
    assert schemas["Chat"]["properties"].keys() == Chat.model_fields.keys()
    assert schemas["Completion"]["additionalProperties"] is False


def test_the_document_names_every_path(server: Server) -> None:
    app: Any = application(server)
    files = {"/", "/page.css", "/page.js", "/openapi.json"}
    assert document()["paths"].keys() == {route.path_format for route in app._app.routes} - files


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_every_answer_is_a_documented_one(case: schemathesis.Case[Any], url: str) -> None:
    case.call_and_validate(
        base_url=url, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
    )
