"""Amazon reviews to July 2014 (McAuley et al., SIGIR 2015).

``reviews_*.json.gz`` or ``ratings_*.csv``, and ``meta_*.json.gz`` in Python literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.formats.literals import first_url, parse_literal
from dataset_tools.sources.amazon import Amazon, RecordTexts


class Amazon2014(Amazon):
    """One category of the 2014 edition; times are in seconds."""

    name = "amazon2014"
    summary = "Amazon reviews of 2014: reviews_*.json.gz or ratings_*.csv, meta_*.json.gz"
    review_patterns = ("reviews_*.json*", "ratings_*.csv*")
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    meta_key = "asin"
    csv_order = (0, 1, 2, 3)
    json_start = '{"'

    def parse(self, text: str) -> dict[str, Any]:
        """One line, a Python literal or JSON."""
        return parse_literal(text)

    def item_values(self, record: Mapping[str, Any], texts: RecordTexts) -> dict[str, str]:
        """Text columns and the picture's url."""
        return {
            "title": texts.text(record, "title"),
            "brand": texts.text(record, "brand"),
            "categories": texts.text(record, "categories", "category"),
            "price": texts.price(record),
            "description": texts.text(record, "description", joiner=" "),
            "image": first_url(record.get("imUrl")),
        }
