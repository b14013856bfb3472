"""The page: see and drive a running node in a browser; knows it by topics and services alone."""
