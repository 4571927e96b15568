"""The studio: a page that the service serves of itself, and the data that its views ask for."""
