"""Train a registered model by a recipe: one visible loop (``loop``) and what it is made of."""
