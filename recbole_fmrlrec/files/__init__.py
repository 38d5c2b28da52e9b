"""Files written whole or not at all, by whom, and which of them may be trusted."""
