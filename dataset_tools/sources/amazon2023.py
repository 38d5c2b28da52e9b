"""Amazon reviews to September 2023 (Hou et al. 2024).

JSON lines ``CATEGORY.jsonl(.gz)`` with ``parent_asin`` and millisecond times, or the 5-core
``CATEGORY.csv``, and ``meta_CATEGORY.jsonl(.gz)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.formats.literals import first_url, parse_container
from dataset_tools.sources.amazon import Amazon, RecordTexts


class Amazon2023(Amazon):
    """One category of the 2023 edition; an item is a ``parent_asin``, times in milliseconds."""

    name = "amazon2023"
    summary = "Amazon reviews of 2023: *.jsonl.gz or *.csv, meta_*.jsonl.gz"
    review_patterns = ("*.jsonl*", "*.csv*")
    keys = ("user_id", "parent_asin", "rating", "timestamp")
    meta_key = "parent_asin"
    csv_order = (0, 1, 2, 3)

    def item_values(self, record: Mapping[str, Any], texts: RecordTexts) -> dict[str, str]:
        """Text columns and the url of the largest first picture."""
        details = record.get("details")
        if isinstance(details, str):
            details = parse_container(details)
        brand = texts.text(details, "Brand") if isinstance(details, dict) else ""
        parts = (texts.text(record, name, joiner=" ") for name in ("features", "description"))
        return {
            "title": texts.text(record, "title"),
            "brand": brand or texts.text(record, "store"),
            "categories": texts.text(record, "categories", "main_category"),
            "price": texts.price(record),
            "description": " ".join(filter(None, parts)),
            "image": first_url(record.get("images"), "hi_res", "large", "thumb"),
        }
