"""Records: the lines of a results file, and whether two of them agree, conflict or differ."""
