"""Every key that a configuration may have, its values, and the YAML files that hold them."""
