"""Outputs against targets: models over datasets, and folders of images that exist already."""
