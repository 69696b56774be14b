"""The coefficients of Muon's iterations, for both backends. Light."""

NEWTON_SCHULZ = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""a, b and c of x -> a x + b x^3 + c x^5 on the singular values: five iterations bring those from
about 0.001 to 1 near 1 (the schedule of modded-nanogpt, found by numerical optimisation)."""
