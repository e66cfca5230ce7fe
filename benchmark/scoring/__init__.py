"""Compare outputs with targets: of models on datasets, and of folders of existing images."""
