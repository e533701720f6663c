"""The description agrees with the routes, the models and itself."""

import json
import re

import pytest

from anivoice.parameters import ConversionParameters
from anivoice.server.openapi import ANSWER_HEADERS, ERRORS, openapi_document
from anivoice.server.uploads import FileParameters

METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}


@pytest.fixture
def api(make_settings):
    return json.loads(openapi_document(make_settings(api_key="correct-horse"), ConversionParameters(pitch_change=5)))


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_described_are_the_routes_there_are(serve_fake):
    client = await serve_fake()
    async with client.get("/openapi.json") as answer:
        assert answer.content_type == "application/json"
        api = await answer.json()
    registered = {
        (route.resource.canonical, route.method.lower())
        for route in client.app.router.routes()
        if route.method != "HEAD"
    }
    described = {(path, method) for path, methods in api["paths"].items() for method in methods}
    assert described == registered


def test_structure(api):
    assert api["openapi"] == "3.1.0"
    assert {"title", "version"} <= api["info"].keys()
    for path, methods in api["paths"].items():
        assert path.startswith("/")
        assert methods.keys() <= METHODS
        for operation in methods.values():
            check_operation(path, operation)


def check_operation(path, operation):
    assert operation["summary"]
    named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path" and one["required"]}
    assert named == set(re.findall(r"{(\w+)}", path))
    assert operation["responses"]
    for status, answer in operation["responses"].items():
        assert re.fullmatch("[1-5][0-9][0-9]", status)
        assert answer["description"]
        for kind, content in answer["content"].items():
            assert re.fullmatch(r"\w+/[\w.+-]+", kind)
            assert isinstance(content["schema"], dict)
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]


def test_references_lead_somewhere(api):
    for reference in set(references(api)):
        target = api
        for key in reference.removeprefix("#/").split("/"):
            target = target[key]
        assert isinstance(target, dict)


def test_every_error_of_a_conversion_is_described(api):
    answers = api["paths"]["/convert"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "413", "415", "422", "500", "503"} <= answers.keys()
    for status in answers.keys() - {"200"}:
        assert answers[status]["description"] == ERRORS[int(status)]
        assert answers[status]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_form_holds_the_audio_and_every_parameter(api):
    form = api["components"]["schemas"]["ConvertForm"]
    assert form["properties"].keys() == {"audio_file", *FileParameters.model_fields}
    assert form["required"] == ["audio_file"]
    body = api["paths"]["/convert"]["post"]["requestBody"]
    assert body["required"] is True
    assert body["content"]["multipart/form-data"]["schema"]["$ref"].endswith("/ConvertForm")


def test_parameters_come_from_the_model_with_the_servers_defaults(api):
    described = api["components"]["schemas"]["ConversionParameters"]["properties"]
    assert described.keys() == ConversionParameters.model_fields.keys()
    assert described["pitch_change"]["default"] == 5
    assert (described["pitch_change"]["minimum"], described["pitch_change"]["maximum"]) == (-36, 36)
    assert all(one["description"] for one in described.values())


def test_security_is_told_where_it_is(api, make_settings):
    assert api["paths"]["/models"]["get"]["security"] == [{"key": []}]
    assert api["paths"]["/healthz"]["get"]["security"] == []
    without = json.loads(openapi_document(make_settings(), ConversionParameters()))
    assert without["paths"]["/models"]["get"]["security"] == []


async def test_headers_of_an_answer_are_described(serve_fake, form, speech):
    client = await serve_fake()
    own = set()
    for voice in ("alice", "bob"):
        async with client.post("/convert", data=form(speech, model_name=voice, index_rate=0.5)) as answer:
            own |= {name for name in answer.headers if name.startswith("X-Anivoice")}
            own |= answer.headers.keys() & {"Content-Disposition", "Server-Timing"}
    assert own == set(ANSWER_HEADERS)
