"""Which urls are fetched."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import urlsplit

from dataset_tools.errors import UsageError


class HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> str:
    """The url; raises ``UsageError`` when it is not http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: only http and https urls are fetched")
    return url
