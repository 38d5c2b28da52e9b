"""Files written whole or not at all, names, processes, and which files may be trusted."""
