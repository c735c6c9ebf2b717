"""What everything stands on: errors, trees of variables, rules over paths, registries, configs, meshes, commands."""
