"""One offline HTML page of the records: ``data`` assembles what ``page`` renders, from the rows of the leaderboard."""
