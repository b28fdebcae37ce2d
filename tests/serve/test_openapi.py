"""The server against its own description: Schemathesis makes requests up and checks every answer."""

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from stubs import ColourDetector, plain, png

from gazehound.serve.app import UPLOAD
from gazehound.serve.settings import Settings

GOOD = [png(plain((200, 10, 30))), png(np.arange(48).reshape(4, 4, 3))]
EXAMPLES = 10  # per operation and mode
FEW = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
for media_type in UPLOAD["requestBody"]["content"]:
    if "multipart" not in media_type:
        schemathesis.openapi.media_type(media_type, st.sampled_from([*GOOD, b"", b"no picture"]))


@pytest.fixture(scope="module")
def operations(shared):
    client = shared(ColourDetector(), Settings(seconds=5))
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    return {result.ok().label: result.ok() for result in schema.get_all_operations()}


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        ("POST /v1/detect", GenerationMode.POSITIVE),
        ("POST /v1/detect", GenerationMode.NEGATIVE),
        ("POST /v1/preview", GenerationMode.POSITIVE),
        ("POST /v1/preview", GenerationMode.NEGATIVE),
        ("GET /v1/model", GenerationMode.POSITIVE),  # nothing can be wrong: they have no parameters
        ("GET /healthz", GenerationMode.POSITIVE),
        ("GET /readyz", GenerationMode.POSITIVE),
    ],
)
def test_every_answer_is_as_described(operations, label, mode):
    assert len(operations) == 5
    operation = operations[label]
    seen = []

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        # A string of bytes is all that OpenAPI can say of a picture, so some that it calls right are none.
        answer = case.call_and_validate(excluded_checks=[positive_data_acceptance])
        seen.append(answer.status_code)

    check()
    if mode is GenerationMode.POSITIVE:
        assert 200 in seen
    else:
        assert min(seen) >= 400
