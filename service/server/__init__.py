"""The HTTP server: gunicorn workers, slow and disconnected clients, CPU threads."""
