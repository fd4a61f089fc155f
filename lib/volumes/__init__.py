"""Networks that label volumes, for instance whole-body composition: their training, and ensembles of their folds."""
