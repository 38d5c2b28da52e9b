"""The settings of a model of this package, whatever configuration it is given."""

from __future__ import annotations

from typing import Any

from recbole_fmrlrec.keys.known import model_defaults


class ModelSettings:
    """A model's settings: what the configuration holds, else the defaults of our properties.

    RecBole's own Config does not read our properties; the model works with it all the same.
    """

    def __init__(self, config: Any, model: str) -> None:
        self.config, self.defaults = config, model_defaults(model)

    def __getitem__(self, key: str) -> Any:
        return self.config[key] if key in self.config else self.defaults.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self.config or key in self.defaults
