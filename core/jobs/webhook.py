"""One message to a webhook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever answers for the address does not get to send the message elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def post_json(address: str, content: dict[str, Any], timeout: float) -> str:
    """Post JSON and return what went wrong, without the address, or nothing.

    Args:
        timeout: seconds for each step of the connection.
    """
    try:
        request = urllib.request.Request(
            address, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return type(error.reason).__name__ if isinstance(error.reason, Exception) else "no connection"
    except (OSError, HTTPException, ValueError) as error:
        return type(error).__name__
