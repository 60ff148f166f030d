"""`python -m minibroker.handlers.reference`: docs/protocol-support.md, from the registry and the heads of handlers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from inspect import getdoc

from minibroker.handlers.registry import APIS, Api
from minibroker.protocol.api import NEVER

_HEAD = """\
# Protocol support

<!-- Written by `python -m minibroker.handlers.reference > docs/protocol-support.md`; a test compares. Do not edit. -->

Every API that the broker serves, with the versions that ApiVersions tells of. Any other API, and any other version,
closes the connection, as it does on Kafka; only an unknown version of ApiVersions is answered.

| key | API | versions | in Kafka 4.3 | flexible from |
|---|---|---|---|---|
"""

_ABSENT = """\

## What is left out

| | |
|---|---|
| transactions | 24 AddPartitionsToTxn, 25 AddOffsetsToTxn, 26 EndTxn, 28 TxnOffsetCommit, 61, 65, 66: not yet |
| authentication, access control | 17, 36 SASL; 29-31 ACLs; 38-41 delegation tokens; 48-51 quotas and SCRAM: not yet |
| newer group protocols | 68, 69 consumer groups (KIP-848); 76-79, 90-92 share groups (KIP-932); 88, 89 streams: not yet |
| client telemetry | 71, 72: never, a client sends it only to a broker that offers it |
| between brokers and controllers | 4-7, 27, 52-59, 62-64, 67, 70, 73, 74, 80-87: never, there is one broker |
"""


def reference() -> Iterator[str]:
    """The page, line by line, without newlines."""
    yield from _HEAD.splitlines()
    for api in APIS:
        yield f"| {api.key.value} | {_link(api)} | {_served(api)} | {_kafkas(api)} | {_flexible(api)} |"
    for api in APIS:
        yield from _section(api)
    yield from _ABSENT.splitlines()


def _link(api: Api) -> str:
    return f"[{api.key.camel_name}](#{api.key.camel_name.lower()})"


def _served(api: Api) -> str:
    return f"{api.advertised_min_version}-{api.max_version}"


def _kafkas(api: Api) -> str:
    return f"{api.key.min_version}-{api.key.max_version}"


def _flexible(api: Api) -> str:
    return "–" if api.key.flexible_from == NEVER else str(api.key.flexible_from)  # noqa: RUF001  # typography


def _section(api: Api) -> Iterator[str]:
    head = getdoc(importlib.import_module(api.module)) or ""
    first, _, rest = head.partition("\n\n")
    summary = " ".join(first.partition(": ")[2].split())
    yield from ("", f"## {api.key.camel_name}", "", summary[:1].upper() + summary[1:])
    if rest:
        yield ""
        yield from rest.splitlines()


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in reference())
