"""The web application: a page and a JSON API that caption images."""
