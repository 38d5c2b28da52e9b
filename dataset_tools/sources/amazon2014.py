"""Amazon reviews to July 2014 (McAuley et al., SIGIR 2015).

``reviews_*.json.gz`` or ``ratings_*.csv``, and ``meta_*.json.gz`` in Python literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.literals import parse_literal
from dataset_tools.sources.amazon import Amazon, Notes, first_url


class Amazon2014(Amazon):
    """One category of the 2014 edition; times are in seconds."""

    review_patterns = ("reviews_*.json*", "ratings_*.csv*")
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    meta_key = "asin"
    csv_order = (0, 1, 2, 3)

    def parse(self, text: str) -> dict[str, Any]:
        """One line, a Python literal or JSON."""
        return parse_literal(text)

    def item_values(self, record: Mapping[str, Any], notes: Notes) -> dict[str, str]:
        """Text columns and the picture's url."""
        return {
            "title": notes.text(record, "title"),
            "brand": notes.text(record, "brand"),
            "categories": notes.text(record, "categories", "category"),
            "price": notes.price(record),
            "description": notes.text(record, "description", joiner=" "),
            "image": first_url(record.get("imUrl")),
        }
