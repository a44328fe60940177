"""The base of what is read from files and written to them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DataModel(BaseModel):
    """A model whose validator is built when it is used first.

    A process uses few of the models that it imports, and building them all takes longer than importing them.
    """

    model_config = ConfigDict(defer_build=True)
