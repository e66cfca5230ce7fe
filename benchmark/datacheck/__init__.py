"""``zoo-bench data check``: check that a folder holds the expected dataset, complete and undamaged.

``plans`` describes the expected files as data; ``inspection`` measures the content of each file once and ``memory``
stores it; ``judging`` and ``checking`` compare both again at each check.
"""
