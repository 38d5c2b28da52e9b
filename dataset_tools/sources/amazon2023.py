"""Amazon reviews to September 2023 (Hou et al. 2024).

JSON lines ``CATEGORY.jsonl(.gz)`` with ``parent_asin`` and millisecond times, or the 5-core
``CATEGORY.csv``, and ``meta_CATEGORY.jsonl(.gz)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.literals import clean_text
from dataset_tools.report import Report
from dataset_tools.sources.amazon import Amazon, first_text


class Amazon2023(Amazon):
    """One category of the 2023 edition; an item is a ``parent_asin``, times in milliseconds."""

    time_unit = "ms"
    review_patterns = ("*.jsonl*", "*.csv*")
    keys = ("user_id", "parent_asin", "rating", "timestamp")
    meta_key = "parent_asin"
    csv_order = (0, 1, 2, 3)

    def item_values(self, record: Mapping[str, Any], report: Report) -> dict[str, str]:
        """Text columns and the url of the largest first picture."""
        details = record.get("details")
        brand = details.get("Brand") if isinstance(details, dict) else None
        price = clean_text(record.get("price"))
        texts = [*(record.get("features") or []), *(record.get("description") or [])]
        return {
            "title": clean_text(record.get("title")),
            "brand": clean_text(brand or record.get("store")),
            "categories": clean_text(record.get("categories") or record.get("main_category")),
            "price": price if any(map(str.isdigit, price)) else "",
            "description": " ".join(filter(None, map(clean_text, texts))),
            "image": first_text(record.get("images"), "hi_res", "large", "thumb"),
        }
