"""A storage behind a proxy that can hold up, repeat and refuse requests."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.store.store import Store
from tests.orchestrator.buckets import Proxy, proxy_to
from tests.servers import Bucket


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with proxy_to(bucket.host) as proxy:
        yield proxy


@pytest.fixture
def behind(bucket: Bucket, proxy: Proxy) -> Store:
    """The storage of `s3_store`, behind the proxy."""
    return Store(replace(bucket, options=proxy.options).uri("/storage"))
