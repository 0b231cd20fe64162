"""The verbs of the command, one file per kind of question; each only calls functions of the library."""
