"""Amazon reviews to October 2018 (Ni, Li, McAuley, EMNLP 2019).

JSON lines ``CATEGORY.json.gz`` or ``CATEGORY_5.json.gz``, or ratings ``CATEGORY.csv``, and
``meta_CATEGORY.json.gz``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataset_tools.literals import clean_text
from dataset_tools.report import Report
from dataset_tools.sources.amazon import Amazon, first_text

_PRICE = re.compile(r"\$?[\d,.]+( - \$?[\d,.]+)?")


class Amazon2018(Amazon):
    """One category of the 2018 edition; times are in seconds."""

    time_unit = "s"
    review_patterns = ("*.json*", "*.csv*")
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    meta_key = "asin"
    csv_order = (1, 0, 2, 3)

    def item_values(self, record: Mapping[str, Any], report: Report) -> dict[str, str]:
        """Text columns and the picture's url; page code in place of a title is dropped."""
        title = clean_text(record.get("title"))
        if "getTime" in title:  # the data's own page says how its broken records look
            report.skip("titles that were page code")
            title = ""
        price = clean_text(record.get("price"))
        images = first_text(record.get("imageURLHighRes")) or first_text(record.get("imageURL"))
        return {
            "title": title,
            "brand": clean_text(record.get("brand")),
            "categories": clean_text(record.get("category") or record.get("main_cat")),
            "price": price if _PRICE.fullmatch(price) else "",
            "description": " ".join(map(clean_text, record.get("description") or [])),
            "image": images or first_text(record.get("image")),
        }
