//! Noise for simulated nights, the same in every run of a test.

/// Numbers drawn from a seed.
pub(super) struct Noise(fastrand::Rng);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Of a standard normal distribution: Box and Muller, 1958.
    pub(super) fn normal(&mut self) -> f64 {
        let uniform = 1.0 - self.0.f64();
        (-2.0 * uniform.ln()).sqrt() * (std::f64::consts::TAU * self.0.f64()).cos()
    }

    /// Student's t with three degrees of freedom, with a standard deviation of 1: one in a hundred is beyond 2.6 on
    /// either side, and one in a thousand beyond 5.9.
    pub(super) fn heavy(&mut self) -> f64 {
        let square = (0..3).map(|_| self.normal().powi(2)).sum::<f64>() / 3.0;
        self.normal() / square.sqrt() / 3f64.sqrt()
    }

    /// A yes with this chance.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        self.0.f64() < chance
    }
}
