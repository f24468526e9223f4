"""The training stages, a module each; `registry` names them."""
