"""Train a registered model by a recipe: one visible loop (``loop``) and its parts."""
