"""Questions to models: the app's side, the process that answers, and who can be asked."""
