//! Small charts of block characters, and how figures are written for people and as CSV.

use super::csv::write_cell;
use super::text::thousands;

/// Characters of the longest bar.
pub(crate) const BAR_CHARS: usize = 40;
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar as long as the number is large; nothing for what is not above zero.
pub(crate) fn bar(number: Option<f64>, largest: f64, chars: usize) -> String {
    let share = number.filter(|number| *number > 0.0 && largest > 0.0).map_or(0.0, |number| number / largest);
    let eighths = scaled(share, chars * 8);
    let mut bar: String = std::iter::repeat_n('█', eighths / 8).collect();
    if let Some(last) = (eighths % 8).checked_sub(1) {
        bar.push(EIGHTHS[last]);
    }
    // What is there at all is seen.
    if bar.is_empty() && share > 0.0 { EIGHTHS[0].to_string() } else { bar }
}

/// One character a number, as high as it is large; a blank where there is none.
pub(crate) fn spark(numbers: &[Option<f64>]) -> String {
    let largest = numbers.iter().flatten().fold(0.0_f64, |largest, number| largest.max(*number));
    let height = |number: &Option<f64>| match number {
        Some(number) if *number > 0.0 => HEIGHTS[scaled(number / largest, 8).saturating_sub(1)],
        Some(_) => HEIGHTS[0],
        None => ' ',
    };
    numbers.iter().map(height).collect()
}

/// A share of `most`, rounded up.
fn scaled(share: f64, most: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a few hundred characters"
    )]
    let scaled = (share.clamp(0.0, 1.0) * most as f64).ceil() as usize;
    scaled
}

/// A figure of an answer for people: `1,234`, `12.5`, `–` for nothing.
pub(crate) fn figure(value: &serde_json::Value) -> String {
    if let Some(count) = value.as_u64() {
        return thousands(count);
    }
    match value.as_f64() {
        None => "–".to_owned(),
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and below 10^15")]
            let whole = thousands(number.abs() as u64);
            if number < 0.0 { format!("-{whole}") } else { whole }
        }
        Some(number) if number.abs() >= 100.0 => format!("{number:.1}"),
        Some(number) if number.abs() >= 0.001 => format!("{number:.3}"),
        Some(number) => format!("{number:e}"),
    }
}

/// A share as people read it: `12.5 %`.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// One line of CSV (RFC 4180), without its line end. No cell is a formula; numbers stay as they are.
pub(crate) fn csv_line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let mut line = Vec::new();
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        match cell.as_ref() {
            number if number.parse::<f64>().is_ok() => line.extend_from_slice(number.as_bytes()),
            text => write_cell(&mut line, text),
        }
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// A figure in CSV: as JSON writes it, and nothing for null.
pub(crate) fn csv_figure(value: &serde_json::Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bars_grow_with_their_numbers() {
        let chars = |number| bar(Some(number), 80.0, 10).chars().count();
        assert_eq!([80.0, 40.0, 8.0, 0.1, 0.0, -5.0].map(chars), [10, 5, 1, 1, 0, 0]);
        assert_eq!((bar(Some(20.0), 80.0, 10), bar(None, 80.0, 10)), ("██▌".to_owned(), String::new()));
        assert_eq!(bar(Some(1.0), 0.0, 10), "");
        assert_eq!(spark(&[Some(0.0), Some(1.0), None, Some(4.0), Some(8.0)]), "▁▁ ▄█");
        assert_eq!(spark(&[Some(0.0), Some(0.0)]), "▁▁");
    }

    #[test]
    fn figures_are_short_and_exact_enough() {
        let shown = [json!(1234), json!(12.0), json!(-1500.0), json!(0.1234), json!(1234.56), json!(null)]
            .map(|value| figure(&value));
        assert_eq!(shown, ["1,234", "12", "-1,500", "0.123", "1234.6", "–"]);
        assert_eq!((percent(Some(0.125)), percent(None)), ("12.5 %".to_owned(), "–".to_owned()));
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(csv_line(["a", "b,c", "d\"e", "f\ng"]), "a,\"b,c\",\"d\"\"e\",\"f\ng\"");
        assert_eq!(csv_line(["=1+1", "-5", "-x"]), "'=1+1,-5,'-x");
        assert_eq!((csv_figure(&json!(1.5)), csv_figure(&json!(null))), ("1.5".to_owned(), String::new()));
    }
}
