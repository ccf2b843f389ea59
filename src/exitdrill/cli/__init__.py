"""The command line. Thin: it reads options, calls the floors below, and shows what they say."""
