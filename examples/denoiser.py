"""An unrolled proximal denoiser: trained on small pictures, it works on larger ones with the same parameters."""

import numpy as np

import paralift as pl


def pictures(n, side, seed):
    """Return noisy and clean pictures of squares."""
    rng = np.random.default_rng(seed)
    clean = rng.random((n, side // 8, side // 8, 1), np.float32).repeat(8, axis=1).repeat(8, axis=2)
    return clean + np.float32(0.1) * rng.standard_normal(clean.shape, np.float32), clean


settings = {"depth": 5, "filters": 8, "kernel": 3, "bound": 0.05}
small, large = (pl.networks.unrolled((side, side, 1), **settings) for side in (24, 96))
start = pl.networks.cosine_filters(small)
run = pl.fit(small, pictures(800, 24, 0), params=start, optimizer=pl.optim.Adam(2e-3), epochs=5, batch_size=16, progress=False)
x, y = pictures(8, 96, 1)
for name, found in (("noisy", x), ("untrained", large.apply(start, x)), ("trained", large.apply(run.params, x))):
    print(f"{name}: {-10 * np.log10(np.mean((found - y) ** 2)):.2f} dB")
