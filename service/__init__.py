"""The HTTP service: routes, schemas, authentication, limits, server, page."""
