//! Times: what is read is written and read again as the same moment; chrono reads the same RFC 3339; and a number is
//! read exactly, from digits only.

use chrono::{DateTime, Datelike};
use eye_event::Timestamp;

use crate::memory::within;

/// Runs the target on one input, a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = within(0, || Timestamp::parse(text));
    if let Some(time) = read {
        let written = time.to_string();
        assert_eq!(Timestamp::parse(&written), Some(time), "{written}");
        assert_eq!(Timestamp::parse(&time.to_seed_string()), Some(time));
        assert_eq!(written.get(..10), Some(&*time.to_date_string()));
        assert!(written >= "0001".to_owned() && written.len() == 27, "{written}");
        let midnight = Timestamp::from_micros(i64::from(time.days()) * 86_400_000_000);
        assert_eq!(midnight.to_date_string(), time.to_date_string());
    }
    compare_civil(text, read);
    let epoch = within(0, || Timestamp::parse_epoch(text));
    compare_epoch(text, epoch);
    if text.as_bytes().get(4) != Some(&b'-') {
        assert_eq!(read, epoch, "what is no date is a number");
    }
}

fn compare_civil(text: &str, read: Option<Timestamp>) {
    let Ok(theirs) = DateTime::parse_from_rfc3339(text) else { return };
    let utc = theirs.to_utc();
    let is_leap_second = theirs.timestamp_subsec_nanos() >= 1_000_000_000;
    let digits = text.split('.').nth(1).map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    // Chrono takes any number of digits, U+2212 for a minus, and the year 0, which ends in the year 1 of UTC.
    let is_our_year = (1..=9999).contains(&utc.year()) && theirs.year() > 0;
    if is_leap_second || digits > 9 || !text.is_ascii() || !is_our_year {
        return;
    }
    assert_eq!(read.map(Timestamp::micros), Some(utc.timestamp_micros()), "{text}");
}

/// An epoch number is digits, perhaps with a minus before, a fraction after, and an exponent.
fn compare_epoch(text: &str, read: Option<Timestamp>) {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = is_digits(whole) && fraction.is_none_or(is_digits) && exponent.is_none_or(is_digits);
    let Some(read) = read else { return };
    assert!(is_number, "{text:?} is read as {read}");
    if exponent.is_some() {
        return;
    }
    let whole: i128 = whole.parse().expect("digits");
    let billionths: i128 = format!("{:0<9.9}", fraction.unwrap_or("")).parse().expect("digits");
    let billionths = whole * 1_000_000_000 + billionths;
    let micros = match whole {
        ..100_000_000_000 => billionths / 1_000,
        ..100_000_000_000_000 => billionths / 1_000_000,
        ..100_000_000_000_000_000 => whole,
        _ => whole / 1_000,
    };
    assert_eq!(i128::from(read.micros()), if text.starts_with('-') { -micros } else { micros }, "{text}");
}
