"""Images: files, filters, where one lies against another, pictures for people."""
