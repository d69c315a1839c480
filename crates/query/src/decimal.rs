//! Decimal numbers as texts, compared exactly: a floating-point number has 53 bits, and an id may have more.

use std::cmp::Ordering;

/// How two numbers compare, each the text of a JSON number. No digit is lost, and nothing is allocated; exponents that
/// do not fit into 64 bits count as the largest that does.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Decimal::of(one), Decimal::of(other));
    one.sign.cmp(&other.sign).then_with(|| {
        let order = one.magnitude.cmp(&other.magnitude).then_with(|| one.digits().cmp(other.digits()));
        if one.sign.is_lt() { order.reverse() } else { order }
    })
}

/// `0.d₁d₂d₃… × 10^magnitude`; the first and the last digit are no zeros.
struct Decimal<'a> {
    /// How it compares with zero.
    sign: Ordering,
    magnitude: i64,
    /// The digits before the point.
    whole: &'a str,
    /// The digits behind it.
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Self {
        let unsigned = text.strip_prefix('-');
        let sign = if unsigned.is_some() { Ordering::Less } else { Ordering::Greater };
        let unsigned = unsigned.unwrap_or(text);
        let (digits, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let too_large = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = exponent.parse::<i64>().unwrap_or(too_large);
        let whole = whole.trim_start_matches('0');
        let behind = if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        if whole.is_empty() && behind.is_empty() {
            return Self { sign: Ordering::Equal, magnitude: 0, whole, fraction: behind };
        }
        let place = whole.len() as i64 - (fraction.len() - behind.len()) as i64;
        let fraction = behind.trim_end_matches('0');
        let whole = if fraction.is_empty() { whole.trim_end_matches('0') } else { whole };
        Self { sign, magnitude: exponent.saturating_add(place), whole, fraction }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_digit_counts() {
        // Each list is of equal numbers, the smallest first.
        let rising: [&[&str]; 14] = [
            &["-10e399", "-1e400", "-0.1e401"],
            &["-1234567890123456789"],
            &["-1234567890123456700", "-12345678901234567e2"],
            &["-0.5", "-5e-1", "-.5"],
            &["-1e-400"],
            &["0", "-0", "0.000", "-0e5", "0E-9", "00"],
            &["1e-400", "0.1E-399"],
            &["0.05", "5e-2", "0.0500"],
            &["10", "10.0", "1e1", "1E+1", "0.01e3", "010", "10."],
            &["10.000000000000000000001"],
            &["9007199254740992"],
            &["9007199254740993", "9.007199254740993e15"],
            &["1e400", "10e399", "1000e397"],
            &["1.0000000000000000000001e400"],
        ];
        for (place, ones) in rising.iter().enumerate() {
            for (other_place, others) in rising.iter().enumerate() {
                for (one, other) in ones.iter().flat_map(|one| others.iter().map(move |other| (one, other))) {
                    assert_eq!(compare(one, other), place.cmp(&other_place), "{one} {other}");
                }
            }
        }
        assert_eq!(compare("1e99999999999999999999", "1e5"), Ordering::Greater);
        assert_eq!(compare("1e-99999999999999999999", "1e-5"), Ordering::Less);
        assert_eq!(compare("-1e99999999999999999999", "1e5"), Ordering::Less);
    }

    /// Ways to write `number` times ten to the `zeros`.
    fn texts(number: i64, zeros: u32) -> [String; 5] {
        let plain = format!("{number}{}", "0".repeat(zeros as usize));
        let (sign, digits) = (if number < 0 { "-" } else { "" }, number.unsigned_abs().to_string());
        let exponent = zeros as usize + digits.len() + 2;
        [
            format!("{plain}.00"),
            format!("{plain}000e-3"),
            format!("{number}e{zeros}"),
            format!("{number}.0E+{zeros}"),
            format!("{sign}0.00{digits}e{exponent}"),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_integers(
            number in prop_oneof![any::<i64>(), -20_i64..20],
            other in prop_oneof![any::<i64>(), -20_i64..20],
            near in proptest::option::of(-2_i64..3),
            zeros in 0_u32..15,
            other_zeros in 0_u32..15,
            is_same in any::<bool>(),
        ) {
            let other = near.map_or(other, |near| number.saturating_add(near));
            let other_zeros = if is_same { zeros } else { other_zeros };
            let exact = |number: i64, zeros: u32| i128::from(number) * 10_i128.pow(zeros);
            let order = exact(number, zeros).cmp(&exact(other, other_zeros));
            for one in texts(number, zeros) {
                for other in texts(other, other_zeros) {
                    prop_assert_eq!(compare(&one, &other), order, "{} {}", one, other);
                }
            }
        }
    }
}
