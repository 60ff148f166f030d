"""The table of APIs against kio."""

from __future__ import annotations

import pytest
from kio.index import load_payload_module
from kio.schema.index import schema_name_map
from kio.static.constants import EntityType

from minibroker.protocol.api import (
    ApiKey,
    request_class,
    request_header_version,
    response_class,
    response_header_version,
)
from tests.protocol.oracle import first_kio_version

UNSTABLE = {(ApiKey.INIT_PRODUCER_ID, 6)}
"""Versions in kio that Kafka 4.3 marks as not yet stable."""


@pytest.mark.parametrize("key", list(ApiKey), ids=lambda key: key.name)
def test_versions_equal_those_of_kio(key: ApiKey) -> None:
    """The versions of an API are those of Kafka's schemas, unstable ones left out."""
    versions = set(schema_name_map[key.name.lower()]) - {version for api, version in UNSTABLE if api is key}
    assert versions == set(range(first_kio_version(key), key.max_version + 1))
    assert not key.has_version(key.min_version - 1)
    assert not key.has_version(key.max_version + 1)


@pytest.mark.parametrize("key", list(ApiKey), ids=lambda key: key.name)
def test_headers_equal_those_of_kio(key: ApiKey) -> None:
    """Key, flexibility and header versions are those of Kafka's schemas."""
    for version in range(first_kio_version(key), key.max_version + 1):
        request = getattr(load_payload_module(key, version, EntityType.request), f"{key.camel_name}Request")
        response = getattr(load_payload_module(key, version, EntityType.response), f"{key.camel_name}Response")
        assert request.__api_key__ == key
        assert request.__flexible__ == key.is_flexible(version)
        assert request.__header_schema__.__version__ == request_header_version(key, version)
        assert response.__header_schema__.__version__ == response_header_version(key, version)


@pytest.mark.parametrize("key", list(ApiKey), ids=lambda key: key.name)
def test_classes_are_found(key: ApiKey) -> None:
    """Each API has its module, named after it, with a request and a response that know their API."""
    for cls, suffix in ((request_class(key), "Request"), (response_class(key), "Response")):
        assert cls.__name__ == key.camel_name + suffix
        assert cls.__module__ == f"minibroker.protocol.messages.{key.name.lower()}"
        assert cls.api is key
