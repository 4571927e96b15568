"""One table from wherever it is kept: files of any common format, folders, databases."""
