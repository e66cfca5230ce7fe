"""Run one crop after another, with a border as wide as the network sees, and join the outputs without seams."""
