"""What a check finds."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Status(StrEnum):
    """What came out of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(BaseModel):
    """One finding."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    message: str
    hint: str = ""
