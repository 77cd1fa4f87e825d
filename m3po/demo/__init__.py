"""The demo's pictures and texts: everything that is drawn and said, and nothing that needs torch."""
