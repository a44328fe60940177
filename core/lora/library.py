"""peft, loaded without bitsandbytes.

Where bitsandbytes is installed, peft loads it for layers that are never made here, and with it torch's
compiler: a fifth of the time that a run takes to start. `compute.quantised` loads what it needs itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_installed(name: str) -> Iterator[None]:
    """Let a package look as if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it then fails, which Python documents
    try:
        yield
    finally:
        del sys.modules[name]


with not_installed("bitsandbytes"):
    import peft
    from peft.import_utils import is_bnb_available
    from peft.tuners import lora
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import get_peft_model_state_dict

    is_bnb_available()  # peft asks once and remembers: nor does it load the package when it makes an adapter

__all__ = ["BaseTunerLayer", "get_peft_model_state_dict", "lora", "peft"]
