"""Fixtures shared by all tests of training runs."""

import pytest
import torch

from tests.training.synthetic import write_recipe, write_set


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe(tmp_path):
    write_set(tmp_path / "tiny")
    return write_recipe(tmp_path / "tiny.yaml", tmp_path)
