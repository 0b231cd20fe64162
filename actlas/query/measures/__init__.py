"""What representations and neurons measure by published measures; `registry` lists them."""
