"""One offline HTML page of the records: ``data`` makes a document from the leaderboard's rows, ``page`` renders it."""
