"""``zoo-bench data check``: is a folder the dataset that it should be, complete and undamaged?

What a dataset must look like is data (``plans``), what a file contains is measured once and remembered
(``inspection``, ``memory``), and what follows from both is judged anew each time (``judging``, ``checking``).
"""
