"""A YAML file with the line of every entry, so that an error can say where it is."""

from __future__ import annotations

from recbole_fmrlrec.keys.yaml_files import Place, load_with_places

__all__ = ["Place", "load_with_places"]
