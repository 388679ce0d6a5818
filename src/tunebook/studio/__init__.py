"""The studio: a web app over run folders, pages and data, for one person on this machine."""
