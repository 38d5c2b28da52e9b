"""The feature store: a matrix, an item list and a manifest, written and read in one place.

These names are its interface; `store` has the functions, `store_files` each single file.
"""

from dataset_tools.features.store import (
    Features,
    align_features,
    attach_features,
    find_rows,
    list_modalities,
    read_features,
    read_items,
    read_manifest,
    write_features,
)

__all__ = [
    "Features",
    "align_features",
    "attach_features",
    "find_rows",
    "list_modalities",
    "read_features",
    "read_items",
    "read_manifest",
    "write_features",
]
