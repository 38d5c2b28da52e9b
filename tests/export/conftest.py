"""The small models of the deployment tests, for what is made of a checkpoint."""

from tests.deploy.conftest import one_thread, random_model, saved

__all__ = ["one_thread", "random_model", "saved"]
