"""The notation of versions, and what every message class keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from minibroker.protocol.api import ApiKey, request_class, response_class
from minibroker.protocol.schema import ArrayKind, StructKind, VersionRange, schema_of


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("3+", [3, 4, 99], [0, 2]),
        ("1-4", [1, 4], [0, 5]),
        ("2", [2], [1, 3]),
        ("0+", [0, 1], [-1]),
        ("", [], [0, 1, 99]),
    ],
)
def test_version_range(text: str, inside: list[int], outside: list[int]) -> None:
    """Ranges read as Kafka writes them, both ends included."""
    versions = VersionRange.parse(text)
    assert all(version in versions for version in inside)
    assert not any(version in versions for version in outside)


def message_classes() -> Iterator[type[Any]]:
    for key in ApiKey:
        yield request_class(key)
        yield response_class(key)


def nested_classes(cls: type[Any]) -> Iterator[type[Any]]:
    yield cls
    for attribute in attrs.fields(cls):
        kind = schema_of(attribute).kind
        element = kind.element if isinstance(kind, ArrayKind) else kind
        if isinstance(element, StructKind):
            yield from nested_classes(element.cls)


@pytest.mark.parametrize("cls", list(message_classes()), ids=lambda cls: cls.__name__)
def test_message_classes_are_well_formed(cls: type[Any]) -> None:
    """Everything has a default and a docstring, lists are never shared, tags are unique, ranges lie in the API's."""
    for nested in nested_classes(cls):
        assert nested.__doc__
        one, other = nested(), nested()
        tags = []
        for attribute in attrs.fields(nested):
            schema = schema_of(attribute)
            value = getattr(one, attribute.name)
            assert not isinstance(value, list) or value is not getattr(other, attribute.name)
            assert schema.versions.first <= cls.api.max_version
            assert schema.versions.last >= cls.api.min_version
            if schema.tag is not None:
                tags.append(schema.tag)
                assert schema.versions.first >= cls.api.flexible_from or nested is not cls
        assert len(tags) == len(set(tags))
