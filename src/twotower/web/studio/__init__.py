"""The studio: a web page for exploring the served bundle, and the data of its views."""
