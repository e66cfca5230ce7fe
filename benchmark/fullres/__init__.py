"""Full-resolution inference in pieces of an image: the output is exact and the memory stays under a limit."""
