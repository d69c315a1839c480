//! [`Sum`]: a sum of floating-point numbers that does not depend on their order.
//!
//! Numbers of one exponent are added as integers, and the few exponents are put together at the end, from the largest on.
//! So the same rows give the same bits, however they are cut into slices and threads.

use std::collections::BTreeMap;

/// A running sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// By exponent of two: the mantissas added up. A mantissa has 53 bits, so 2^74 of them fit.
    by_exponent: BTreeMap<i16, i128>,
}

impl Sum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, number: f64) {
        if number == 0.0 || !number.is_finite() {
            return;
        }
        let bits = number.to_bits();
        let (biased, fraction) = ((bits >> 52 & 0x7ff) as i16, (bits & 0x000f_ffff_ffff_ffff) as i64);
        // A subnormal number has no hidden bit, and the exponent of the smallest normal ones.
        let (exponent, mantissa) = if biased == 0 { (1, fraction) } else { (biased, fraction | 1 << 52) };
        let mantissa = if number < 0.0 { -mantissa } else { mantissa };
        *self.by_exponent.entry(exponent).or_default() += i128::from(mantissa);
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (exponent, mantissa) in &other.by_exponent {
            *self.by_exponent.entry(*exponent).or_default() += mantissa;
        }
    }

    /// The sum as a number; infinite if it is too large for one.
    pub(crate) fn value(&self) -> f64 {
        const BIAS: i32 = 1023 + 52;
        let terms = self.by_exponent.iter().rev();
        #[expect(clippy::cast_precision_loss, reason = "rounded once a term, the same way always")]
        let terms = terms.map(|(exponent, mantissa)| scale(*mantissa as f64, i32::from(*exponent) - BIAS));
        // Never minus zero.
        terms.fold(0.0, |sum, term| sum + term)
    }
}

/// `number` times two to the `exponent`, in two steps where one would leave the range on the way.
fn scale(number: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    number * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(numbers: &[f64]) -> f64 {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum.value()
    }

    #[test]
    fn whole_numbers_and_cancelled_ones_are_exact() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[1.5, 2.25, -3.75]), 0.0);
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[f64::MIN_POSITIVE, f64::from_bits(1)]), f64::MIN_POSITIVE + f64::from_bits(1));
        assert_eq!(sum(&[f64::MAX]), f64::MAX);
        assert_eq!(sum(&[5e-324]), 5e-324);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(numbers in proptest::collection::vec(any::<f64>(), 0..50), cut in 0..50_usize) {
            let mut turned = numbers.clone();
            turned.reverse();
            let (left, right) = turned.split_at(cut.min(turned.len()));
            let (mut one, mut other) = (Sum::default(), Sum::default());
            left.iter().for_each(|number| one.add(*number));
            right.iter().for_each(|number| other.add(*number));
            other.merge(&one);
            prop_assert_eq!(sum(&numbers).to_bits(), other.value().to_bits());
        }
    }
}
