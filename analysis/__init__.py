"""Tables and figures of result folders; needs neither torch nor ray."""
