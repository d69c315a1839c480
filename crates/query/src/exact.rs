//! [`Sum`]: a sum of floating-point numbers that does not depend on their order.
//!
//! Numbers of one exponent are added as integers, and the few exponents are put together at the end, in one integer that is
//! wide enough for all of them and is rounded once. So a sum is the number nearest to the exact one, and the same rows give
//! the same bits, however they are cut into slices and threads.

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

    /// The sum as a number, rounded half to even; infinite if it is too large for one. Never minus zero.
    pub(crate) fn value(&self) -> f64 {
        self.rounded().number()
    }

    /// The sum as a number, divided by how many numbers it is of; finite even if the sum is too large for one.
    pub(crate) fn mean(&self, count: u64) -> f64 {
        // More than any count, in powers of two.
        const DOWN: u16 = 64;
        let rounded = self.rounded();
        let sum = rounded.number();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count = count as f64;
        if sum.is_finite() {
            return sum / count;
        }
        let small = Rounded { shift: rounded.shift.saturating_sub(DOWN), ..rounded }.number();
        (small / count * 2_f64.powi(i32::from(DOWN))).clamp(f64::MIN, f64::MAX)
    }

    fn rounded(&self) -> Rounded {
        let mut wide = Wide([0; LIMBS]);
        for (exponent, mantissa) in &self.by_exponent {
            wide.add(*mantissa, usize::try_from(exponent - 1).unwrap_or_default());
        }
        wide.rounded()
    }
}

/// Limbs of a [`Wide`]: the largest exponent shifts by 2,045 bits, and behind them come 127 of the mantissas, the carries
/// of their sums, and the sign.
const LIMBS: usize = 36;
/// Bits of a mantissa, with the hidden one.
const MANTISSA_BITS: usize = 53;

/// An integer in two's complement, the lowest limb first; its unit is the smallest number above zero, 2^-1074.
struct Wide([u64; LIMBS]);

impl Wide {
    /// Adds `number` times two to the `shift`.
    fn add(&mut self, number: i128, shift: usize) {
        let (first, shift) = (shift / 64, shift % 64);
        let low = (number as u128) << shift;
        // What the shift has pushed out at the top; all that lies above is the sign.
        let (high, sign) = (if shift == 0 { number >> 127 } else { number >> (128 - shift) }, number >> 127);
        let parts = [low as u64, (low >> 64) as u64, high as u64].into_iter().chain(std::iter::repeat(sign as u64));
        let mut carry = false;
        for (limb, part) in self.0[first..].iter_mut().zip(parts) {
            let (sum, is_over) = limb.overflowing_add(part);
            let (sum, is_over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, is_over || is_over_again);
        }
    }

    fn rounded(mut self) -> Rounded {
        let is_negative = self.0[LIMBS - 1] >> 63 == 1;
        if is_negative {
            let mut carry = true;
            for limb in &mut self.0 {
                (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
            }
        }
        let Some(top) = self.0.iter().rposition(|limb| *limb != 0) else {
            return Rounded { is_negative: false, mantissa: 0, shift: 0 };
        };
        let bits = (top + 1) * 64 - self.0[top].leading_zeros() as usize;
        let Some(below) = bits.saturating_sub(MANTISSA_BITS).checked_sub(1) else {
            // It fits.
            return Rounded { is_negative, mantissa: self.0[0], shift: 0 };
        };
        let shift = below + 1;
        let limb = |place: usize| u128::from(self.0.get(place).copied().unwrap_or_default());
        let mantissa = ((limb(shift / 64) | limb(shift / 64 + 1) << 64) >> (shift % 64)) as u64;
        let (place, bit) = (below / 64, 1_u64 << (below % 64));
        let is_half = self.0[place] & bit != 0;
        let is_more = self.0[place] & (bit - 1) != 0 || self.0[..place].iter().any(|limb| *limb != 0);
        let is_up = is_half && (is_more || mantissa & 1 == 1);
        Rounded { is_negative, mantissa: mantissa + u64::from(is_up), shift: shift as u16 }
    }
}

/// `mantissa × 2^(shift - 1074)`. The mantissa has 53 bits, or fewer without a shift, or is 2^53 if it was rounded up.
struct Rounded {
    is_negative: bool,
    mantissa: u64,
    shift: u16,
}

impl Rounded {
    /// As a number; infinite if it is too large for one.
    fn number(&self) -> f64 {
        // The hidden bit of a mantissa adds one to the exponent, as does the one that rounding may have carried.
        let bits = (u64::from(self.shift) << (MANTISSA_BITS - 1)) + self.mantissa;
        let number = f64::from_bits(bits.min(f64::INFINITY.to_bits()));
        if self.is_negative { -number } else { number }
    }
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

    #[test]
    fn a_sum_is_rounded_once() {
        assert_eq!(sum(&[25.51, 49.54, 44.95]), 120.0);
        let large = 2_f64.powi(53);
        assert_eq!(sum(&[large, 1.0, 0.5, 0.5]), large + 2.0);
        // Half to even, and a little more than half.
        assert_eq!(sum(&[large, 1.0]), large);
        assert_eq!(sum(&[large, 3.0]), large + 4.0);
        assert_eq!(sum(&[large, 1.0, 5e-324]), large + 2.0);
        assert_eq!(sum(&[-large, -1.0, -5e-324]), -large - 2.0);
        assert_eq!(sum(&[-large, -1.0, 5e-324]), -large);
        // The mantissa becomes one bit longer.
        assert_eq!(sum(&[large - 1.0, 0.5]), large);
        assert_eq!(sum(&[1.7e308, 1.7e308, -1.7e308]), 1.7e308);
        assert_eq!(sum(&[f64::MAX, 1.0]), f64::MAX);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::MIN, f64::MIN]), f64::NEG_INFINITY);
        assert_eq!(sum(&[-0.0, 1.0, -1.0]).to_bits(), 0);
    }

    #[test]
    fn a_mean_is_finite() {
        let mean = |numbers: &[f64]| {
            let mut sum = Sum::default();
            numbers.iter().for_each(|number| sum.add(*number));
            sum.mean(numbers.len() as u64)
        };
        assert_eq!(mean(&[1.0, 2.0]), 1.5);
        assert_eq!(mean(&[1.7e308, 1.7e308]), 1.7e308);
        assert_eq!(mean(&[f64::MIN; 7]), f64::MIN);
        assert_eq!(mean(&[1e308, 1e308, 0.0, 0.0]), 5e307);
    }

    proptest! {
        #[test]
        fn a_sum_is_the_nearest_number(
            parts in proptest::collection::vec((-(1_i64 << 53)..=1 << 53, 0_u32..60, 0_u32..60), 0..50),
        ) {
            // Whole numbers of at most 113 bits, of which the unit is 2^-10.
            let (mut exact, mut sum) = (0_i128, Sum::default());
            for (number, right, left) in parts {
                let number = i128::from(number >> right) << left;
                exact += number;
                sum.add(number as f64 / 1024.0);
            }
            prop_assert_eq!(sum.value(), exact as f64 / 1024.0);
        }

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
