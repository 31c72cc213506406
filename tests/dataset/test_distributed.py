"""Arrays on dask.distributed: workers in processes of their own, which see the folder and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from aiomm.dataset import Dataset, Frame, NDTiffWriter
from tests.dataset.support import image, same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            protocol="tcp",
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


@pytest.mark.filterwarnings("ignore")  # of distributed's own
def test_workers_read_the_folder(tmp_path: Path, client: Client) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        for i in range(40):
            if i != 7:
                writer.put(Frame({"time": i // 2, "z": i % 2}, image(i, (700, 800)), {}))
    dataset = Dataset(writer.path)
    array = dataset.as_array()
    assert array.npartitions > 1
    dataset.close()  # workers open files of their own
    sums = client.compute(array.sum(axis=(2, 3), dtype=np.int64)).result(timeout=40)
    assert sums.reshape(-1).tolist() == [0 if i == 7 else int(image(i, (700, 800)).sum(dtype=np.int64)) for i in range(40)]
    with client.as_current():  # chosen, and so it computes even the whole
        assert same(array[3], [np.zeros((700, 800), np.uint16) if i == 7 else image(i, (700, 800)) for i in (6, 7)])
    zarr = da.from_zarr(Dataset(writer.path).as_zarr()["0"])
    assert client.compute(zarr[3].max(axis=(1, 2))).result(timeout=40).tolist() == [int(image(6, (700, 800)).max()), 0]


@pytest.mark.filterwarnings("ignore")  # of distributed's own
def test_workers_open_the_dataset(tmp_path: Path, client: Client) -> None:
    with NDTiffWriter(tmp_path, "x") as writer:
        writer.put(Frame({"time": 0}, image(5), {}))
    dataset = Dataset(writer.path)
    assert client.submit(lambda one: int(one.read_image(time=0).sum()), dataset).result(timeout=40) == int(image(5).sum())
