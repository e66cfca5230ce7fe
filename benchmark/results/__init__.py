"""Records: the lines of a results file, what makes two of them agree, conflict or differ."""
