"""The four services and the chassis they run on. Services never import each other; they meet in `proto/`."""
