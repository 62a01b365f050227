"""What the scripts share. Nothing here imports a script, and importing a module only defines things."""
