"""Images: files, filters, alignment, and pictures for people."""
