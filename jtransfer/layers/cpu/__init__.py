"""Operations that XLA's CPU compiler is slow at, computed by others that it is fast at."""
