"""Reporting: tables on the terminal, pictures, the HTML page, and the course of a run."""
