"""One file per family of networks; every module here is imported when the registry is first used."""
