"""This project's own implementation of the published models."""
