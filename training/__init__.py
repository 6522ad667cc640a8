"""Makes checkpoints. Imports the promised API of `harness` and `arr_coc_model`."""
