"""One model out of several runs or checkpoints: what `jtransfer.fuse` does."""
