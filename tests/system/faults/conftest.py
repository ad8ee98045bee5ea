"""One cluster per module; what a test started and submitted is gone before the next test."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster


@pytest.fixture(scope="session", autouse=True)
def _forked(preload: None) -> None:
    """Workers and helpers load no libraries."""


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.open()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(module_cluster: Cluster) -> Iterator[Cluster]:
    module_cluster.end_programs()
    module_cluster.clear()
    yield module_cluster
    module_cluster.end_programs()


@pytest.fixture
def cluster_with_worker(module_cluster: Cluster) -> Cluster:
    """With a worker that tests share: for those that leave it well."""
    module_cluster.clear()
    module_cluster.ensure_worker()
    return module_cluster
