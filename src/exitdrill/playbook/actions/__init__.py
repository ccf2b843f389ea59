"""The actions that come with exitdrill, found by entry point like anybody else's."""
