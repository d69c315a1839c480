"""The design that The Eye replaces: Django REST framework, a token, a session kept as one list, SQLite."""
