"""Files written whole or not at all, their hashes, and the names in a dataset's folder."""
