"""Load: as much as a server takes, for as long as one likes."""
