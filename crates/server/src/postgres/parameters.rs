//! The values that a client binds to a statement's `$1`, `$2` and so on, as texts or in binary.

use bytes::Bytes;
use eye_sql::Parameter;
use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal};
use pgwire::error::PgWireResult;

use super::encode;
use super::session::error;

/// The values that a client has bound.
pub(super) fn of(portal: &Portal<String>) -> PgWireResult<Vec<Parameter>> {
    let value = |(place, bytes): (usize, &Option<Bytes>)| {
        let Some(bytes) = bytes else { return Ok(Parameter::Null) };
        let kind = portal.statement.parameter_types.get(place).cloned().flatten().unwrap_or(Type::UNKNOWN);
        let is_binary = match &portal.parameter_format {
            Format::Individual(codes) => codes.get(place).is_some_and(|code| *code == 1),
            other => other.is_binary(place),
        };
        let read = if is_binary { binary(&kind, bytes) } else { text(&kind, bytes) };
        read.ok_or_else(|| {
            error("22P03", format!("the value of ${} cannot be read as {}: send it as a text", place + 1, kind.name()))
        })
    };
    portal.parameters.iter().enumerate().map(value).collect()
}

fn text(kind: &Type, bytes: &[u8]) -> Option<Parameter> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(match *kind {
        Type::BOOL => Parameter::Bool(match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true,
            "f" | "false" | "n" | "no" | "off" | "0" => false,
            _ => return None,
        }),
        Type::INT2 | Type::INT4 | Type::INT8 => Parameter::Int(text.trim().parse().ok()?),
        Type::FLOAT4 | Type::FLOAT8 => Parameter::Float(text.trim().parse().ok()?),
        _ => Parameter::Text(text.to_owned()),
    })
}

fn binary(kind: &Type, bytes: &[u8]) -> Option<Parameter> {
    Some(match *kind {
        Type::BOOL => Parameter::Bool(*bytes.first()? != 0),
        Type::INT2 => Parameter::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT4 => Parameter::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT8 => Parameter::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::FLOAT4 => Parameter::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::FLOAT8 => Parameter::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::UUID => {
            Parameter::Text(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        Type::TIMESTAMPTZ | Type::TIMESTAMP => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?).checked_add(encode::EPOCH_MICROS)?;
            Parameter::Text(eye_event::Timestamp::from_micros(micros).to_string())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_is_read_in_every_spelling() {
        for (spellings, expected) in [
            (["t", "true", "y", "yes", "on", "1", "TRUE", "True", " tRuE\t", "ON"], Some(true)),
            (["f", "false", "n", "no", "off", "0", "FALSE", "False", " fAlSe\t", "OFF"], Some(false)),
            (["", " ", "2", "tr", "yess", "null", "-1", "1.0", "t f", "wahr"], None),
        ] {
            for spelling in spellings {
                let read = match text(&Type::BOOL, spelling.as_bytes()) {
                    Some(Parameter::Bool(read)) => Some(read),
                    None => None,
                    Some(_) => panic!("{spelling:?} is no boolean"),
                };
                assert_eq!(read, expected, "{spelling:?}");
            }
        }
    }
}
