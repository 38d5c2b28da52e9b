"""Amazon reviews to July 2014 (McAuley et al., SIGIR 2015).

``reviews_*.json.gz`` or ``ratings_*.csv``, and ``meta_*.json.gz`` in Python literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.literals import clean_text, parse_literal
from dataset_tools.report import Report
from dataset_tools.sources.amazon import Amazon
from dataset_tools.sources.base import TEXT_COLUMNS


class Amazon2014(Amazon):
    """One category of the 2014 edition; times are in seconds."""

    time_unit = "s"
    review_patterns = ("reviews_*.json*", "ratings_*.csv*")
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    meta_key = "asin"
    csv_order = (0, 1, 2, 3)

    def parse(self, text: str) -> dict[str, Any]:
        """One line, a Python literal or JSON."""
        return parse_literal(text)

    def item_values(self, record: Mapping[str, Any], report: Report) -> dict[str, str]:
        """Text columns and the picture's url."""
        values = {name: clean_text(record.get(name)) for name in TEXT_COLUMNS}
        return {**values, "image": str(record.get("imUrl") or "")}
