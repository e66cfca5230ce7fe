"""Full-resolution inference that is exact and keeps to a memory limit: networks over tiles of an image."""
