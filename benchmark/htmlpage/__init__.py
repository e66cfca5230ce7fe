"""One offline HTML page of the records: ``records`` and ``gallery`` read, ``data`` assembles, ``page`` renders."""
