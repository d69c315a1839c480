//! Values out of a JSON text, by their paths, without building the rest.
//!
//! Payloads were checked when they were stored, so most of a text is only skipped (`scan`). What is rare (a key with
//! escapes, a place in an array, a text that ends early) is left to a parser.
//!
//! Of keys that stand twice in an object the last counts, as in ECMAScript (ECMA-262, 25.5.1) and in PostgreSQL's `jsonb`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

mod scan;

pub use scan::Picker;

/// The text of the value at this path: keys of objects, or places in arrays counted from 0. `None` if there is none.
#[must_use]
pub fn find<'a>(json: &'a str, path: &[String]) -> Option<&'a str> {
    scan::find(json, path).unwrap_or_else(|scan::Unsure| parse(json, path))
}

fn parse<'a>(json: &'a str, path: &[String]) -> Option<&'a str> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Walk(path).deserialize(&mut deserializer).ok().flatten()
}

/// A value for people and for comparison: a string without its quotes and escapes, anything else as it was sent. JSON's
/// null is no value.
#[must_use]
pub fn plain(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first() {
        Some(b'n') | None => None,
        Some(b'"') => Some(unquote(json)),
        Some(_) => Some(Cow::Borrowed(json)),
    }
}

/// True for the text of a JSON string.
#[must_use]
pub fn is_string(json: &str) -> bool {
    json.starts_with('"')
}

/// The number that a JSON text is; `None` if it is something else, or has no finite value.
#[must_use]
pub fn number(json: &str) -> Option<f64> {
    rounded(json).filter(|number| number.is_finite())
}

/// The floating-point number that is nearest to the number that a JSON text is: infinite if it is too large for one. `None`
/// if it is something else.
#[must_use]
pub fn rounded(json: &str) -> Option<f64> {
    let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    // `-inf` is a number for Rust.
    let has_digit = || json.bytes().any(|byte| byte.is_ascii_digit());
    (is_number && has_digit()).then(|| json.parse().ok()).flatten()
}

fn unquote(json: &str) -> Cow<'_, str> {
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // A lone surrogate is no text: it is shown as it was sent.
    serde_json::from_str(json).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Goes down a path.
struct Walk<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return <&RawValue as serde::Deserialize>::deserialize(deserializer).map(|raw| Some(raw.get()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (key, rest) = self.0.split_first().ok_or_else(|| A::Error::custom("no path"))?;
        let mut found = None;
        while let Some(is_key) = map.next_key_seed(IsKey(key))? {
            if is_key {
                found = map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let (key, rest) = self.0.split_first().ok_or_else(|| A::Error::custom("no path"))?;
        // Only as JSON writes a number: `01` and `+1` are keys of objects alone.
        let is_place = key == "0" || !key.starts_with(['0', '+']);
        let place = key.parse::<usize>().ok().filter(|_| is_place);
        let (mut found, mut index) = (None, 0);
        loop {
            let is_there = if place == Some(index) {
                let value = sequence.next_element_seed(Walk(rest))?;
                found = value.flatten();
                value.is_some()
            } else {
                sequence.next_element::<IgnoredAny>()?.is_some()
            };
            if !is_there {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// True for this key.
struct IsKey<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // As bytes, half a surrogate pair is a key as any other; as a text it would be an error.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any value, and keys that are often the same.
    fn value() -> impl Strategy<Value = String> {
        let text =
            prop_oneof!["[a-c]?", r#"[ab"\\\[\]{},:é]{0,4}"#].prop_map(|text| serde_json::json!(text).to_string());
        let leaf =
            prop_oneof![text.clone(), Just("-1.5e3".to_owned()), Just("null".to_owned()), Just("true".to_owned())];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let members = proptest::collection::vec((text.clone(), "[ \n]?", inner.clone()), 0..4);
            let object = members.prop_map(|members| {
                let members =
                    members.iter().map(|(key, space, value)| format!("{space}{key}{space}:{space}{value}{space}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            });
            let array = proptest::collection::vec(inner, 0..3).prop_map(|all| format!("[{}]", all.join(" ,")));
            prop_oneof![object, array]
        })
    }

    proptest! {
        #[test]
        fn what_is_skipped_is_what_a_parser_would_skip(
            json in value(),
            path in proptest::collection::vec("[a-c0]?", 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            prop_assert_eq!(find(&json, &path), parse(&json, &path));
            if let Ok(Some(found)) = scan::find(&json, &path) {
                prop_assert_eq!(Some(found), parse(&json, &path));
            }
            let paths = [path.clone(), vec!["a".to_owned()], path[..1].to_vec(), vec!["a".to_owned(), "b".to_owned()]];
            let mut found = Vec::new();
            Picker::new(&paths).pick(&json, &mut found);
            let one_by_one: Vec<_> = paths.iter().map(|path| parse(&json, path)).collect();
            prop_assert_eq!(found, one_by_one);
            // A text that ends early is no reason to panic.
            let _ = find(&json[..json.floor_char_boundary(cut.index(json.len() + 1))], &path);
        }
    }

    fn at<'a>(json: &'a str, path: &str) -> Option<&'a str> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        find(json, &path)
    }

    #[test]
    fn values_are_found_by_their_path() {
        let json = r#"{"a":{"b":[10,{"c":"x\ty"}]},"n":1.50,"a ":null,"d":true,"é":"ü"}"#;
        assert_eq!(at(json, "a.b.0"), Some("10"));
        assert_eq!(at(json, "a.b.1.c"), Some(r#""x\ty""#));
        assert_eq!(at(json, "n"), Some("1.50"));
        assert_eq!(at(json, "a "), Some("null"));
        assert_eq!(at(json, "é"), Some("\"ü\""));
        for missing in ["b", "a.c", "a.b.2", "a.b.x", "n.a", "d.a", "a .x"] {
            assert_eq!(at(json, missing), None, "{missing}");
        }
        assert_eq!(at("[1,2]", "1"), Some("2"));
        assert_eq!(at("[1,2]", "0"), Some("1"));
        for no_place in ["01", "+1", "00", "-0", "-1", "1 "] {
            assert_eq!(at("[1,2]", no_place), None, "{no_place}");
        }
        assert_eq!(at(r#"{"01":1,"+1":2}"#, "01"), Some("1"));
        assert_eq!(at("7", "a"), None);
        assert_eq!(at("{\"a\":1", "a"), None);
    }

    #[test]
    fn of_keys_that_stand_twice_the_last_counts() {
        assert_eq!(at(r#"{"a":1,"a":2}"#, "a"), Some("2"));
        assert_eq!(at(r#"{"a":{"b":1},"a":2}"#, "a.b"), None);
        assert_eq!(at("{\"a\":1,\"\\u0061\":3}", "a"), Some("3"));
    }

    #[test]
    fn half_a_surrogate_pair_hides_no_other_key() {
        let path = ["plan".to_owned()];
        for json in [
            r#"{"\ud83d":1,"plan":"pro"}"#,
            r#"{"plan":"pro","\ud83d":1}"#,
            r#"{"\ude00\u0061":{"plan":1},"plan":"pro"}"#,
            r#"{"\ud83d\n":"\ud83d","\u0070lan":"pro"}"#,
        ] {
            assert_eq!(find(json, &path), Some("\"pro\""), "{json}");
            let mut found = Vec::new();
            Picker::new(&[path.to_vec(), vec!["x".to_owned()]]).pick(json, &mut found);
            assert_eq!(found, [Some("\"pro\""), None], "{json}");
        }
        assert_eq!(at(r#"{"\ud83d\ude00":1}"#, "😀"), Some("1"));
    }

    #[test]
    fn numbers_too_large_are_infinite_when_rounded() {
        assert_eq!(rounded("-1e2"), Some(-100.0));
        assert_eq!((rounded("1e400"), rounded("-1e400")), (Some(f64::INFINITY), Some(f64::NEG_INFINITY)));
        for none in ["-inf", "-nan", "inf", "1x", "-", "", "\"1\""] {
            assert_eq!(rounded(none), None, "{none}");
        }
    }

    #[test]
    fn plain_values_are_texts() {
        assert_eq!(plain("\"a\\nb\"").as_deref(), Some("a\nb"));
        assert_eq!(plain("\"\\ud800\"").as_deref(), Some("\\ud800"));
        assert_eq!(plain("1.0").as_deref(), Some("1.0"));
        assert_eq!(plain("{\"a\": 1}").as_deref(), Some("{\"a\": 1}"));
        assert_eq!(plain("null"), None);
        assert_eq!(number("-1e2"), Some(-100.0));
        for none in ["\"1\"", "1e999", "true", "null", "[1]"] {
            assert_eq!(number(none), None, "{none}");
        }
    }
}
