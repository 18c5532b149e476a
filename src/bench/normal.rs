//! The quantiles of the normal distribution, which make lognormal service times out of uniform
//! numbers: a trace must be the same on every machine, so no library's sampler draws it.

/// The point below which the standard normal distribution has the share `p`, 0 < `p` < 1; good to
/// about seven digits: algorithm AS 241 (PPND7) of M. J. Wichura, Applied Statistics 37, 1988.
pub fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * fraction(r, &CENTRE_TOP, &CENTRE_BOTTOM);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let magnitude = if r <= 5.0 {
        fraction(r - 1.6, &MIDDLE_TOP, &MIDDLE_BOTTOM)
    } else {
        fraction(r - 5.0, &FAR_TOP, &FAR_BOTTOM)
    };
    magnitude.copysign(q)
}

const CENTRE_TOP: [f64; 4] = [3.387_132_717_9, 50.434_271_938, 159.291_132_02, 59.109_374_720];
const CENTRE_BOTTOM: [f64; 4] = [1.0, 17.895_169_469, 78.757_757_664, 67.187_563_600];
const MIDDLE_TOP: [f64; 4] = [1.423_437_277_7, 2.756_815_390_0, 1.306_728_481_6, 0.170_238_211_03];
const MIDDLE_BOTTOM: [f64; 3] = [1.0, 0.737_001_642_50, 0.120_211_329_75];
const FAR_TOP: [f64; 4] = [6.657_905_115_0, 3.081_226_386_0, 0.428_682_943_37, 0.017_337_203_997];
const FAR_BOTTOM: [f64; 3] = [1.0, 0.241_978_942_25, 0.012_258_202_635];

/// One polynomial over another, lowest powers first.
fn fraction(x: f64, top: &[f64], bottom: &[f64]) -> f64 {
    let value = |terms: &[f64]| terms.iter().rev().fold(0.0, |sum, term| sum * x + term);
    value(top) / value(bottom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_quantiles_come_out() {
        for (p, z) in [
            (0.5, 0.0),
            (0.841_344_746, 1.0),
            (0.99, 2.326_347_874),
            (0.999_999_9, 5.199_337_582),
            (1e-12, -7.034_483_825),
        ] {
            assert!((quantile(p) - z).abs() < 2e-6, "{p}: {} is not {z}", quantile(p));
        }
    }

    #[test]
    fn it_is_odd_and_rises() {
        let mut last = f64::NEG_INFINITY;
        for step in 1..1_000_u32 {
            let p = f64::from(step) / 1_000.0;
            let z = quantile(p);
            assert!(last < z);
            assert!((z + quantile(1.0 - p)).abs() < 1e-6);
            last = z;
        }
    }
}
