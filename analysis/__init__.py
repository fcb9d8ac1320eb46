"""Tables and figures of results folders. Needs neither torch nor ray."""
