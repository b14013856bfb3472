"""What tests of several kinds share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope='module')
def one_thread() -> Iterator[None]:
    """Let torch use one thread: on small models threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
