"""Asset kinds, one file each: what moving, rebuilding, proving and removing them takes."""
