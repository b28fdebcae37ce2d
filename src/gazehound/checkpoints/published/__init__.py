"""Published weights by name: a table of official files, their download, and this machine's copies."""
