"""The model that is trained: put together, loaded, adapted, in parts."""
