"""The glossary, with an example of each term from the served bundle."""
