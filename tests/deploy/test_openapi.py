"""Whatever the service's own description allows, and what it does not, is answered without a fault."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance
from serving import Place, serving

CHECKS = [not_a_server_error, response_schema_conformance]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving(seeds=True) as place:
        yield place


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_a_fault_of_the_server(place: Place, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{place.port}/openapi.json")
    paths = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode.is_negative and operation.method == "get":
            continue  # it takes nothing that could be wrong
        paths.append(operation.path)

        @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()
    assert "/predict" in paths
    assert mode.is_negative or len(paths) == 5
