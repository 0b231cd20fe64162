"""Questions that kept tables answer. Each is defined by the macro of its name, which the function here asks."""
