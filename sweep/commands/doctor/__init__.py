"""`sweep doctor`: facts about this machine, each of which is looked up or tried."""
