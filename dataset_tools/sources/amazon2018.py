"""Amazon reviews to October 2018 (Ni, Li, McAuley, EMNLP 2019).

JSON lines ``CATEGORY.json.gz`` or ``CATEGORY_5.json.gz``, or ratings ``CATEGORY.csv``, and
``meta_CATEGORY.json.gz``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.formats.literals import first_url
from dataset_tools.sources.amazon import Amazon, RecordTexts


class Amazon2018(Amazon):
    """One category of the 2018 edition; times are in seconds."""

    name = "amazon2018"
    summary = "Amazon reviews of 2018: *.json.gz or *.csv, meta_*.json.gz"
    review_patterns = ("*.json*", "*.csv*")
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    meta_key = "asin"
    csv_order = (1, 0, 2, 3)

    def item_values(self, record: Mapping[str, Any], texts: RecordTexts) -> dict[str, str]:
        """Text columns and the picture's url; page code in place of a title is dropped."""
        title = texts.text(record, "title")
        if "getTime" in title:  # the data's own page says how its broken records look
            texts.say("titles that were page code")
            title = ""
        pictures = (first_url(record.get(key)) for key in ("imageURLHighRes", "imageURL", "image"))
        return {
            "title": title,
            "brand": texts.text(record, "brand"),
            "categories": texts.text(record, "category", "main_cat"),
            "price": texts.price(record),
            "description": texts.text(record, "description", joiner=" "),
            "image": next(filter(None, pictures), ""),
        }
