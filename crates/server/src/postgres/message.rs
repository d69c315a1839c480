//! Whether a message of a client is what it says it is: its numbers count what is there, and its texts have an end.
//!
//! `pgwire` takes that for granted. Where a message ends too soon it panics or reads on in the next one, and for what a
//! number counts it makes room before it looks. So each message is read here first, when all of it is there, and `pgwire`
//! gets nothing but that message. Nothing is copied, and what a text says does not matter here.
//!
//! The fields are those of PostgreSQL's documentation, 55.7 "Message Formats":
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::fmt::{self, Display};

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// There is no such message, or not here.
    Unknown { kind: u8 },
    /// It ends before or within this field.
    Short { message: &'static str, field: &'static str },
    /// Bytes come after its last field.
    Long { message: &'static str },
    /// This field cannot have this value.
    Wrong { message: &'static str, field: &'static str, value: i32 },
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As PostgreSQL says it.
            Self::Unknown { kind } => write!(f, "invalid frontend message type {kind}"),
            Self::Short { message, field } => write!(f, "invalid {message} message: it ends within its {field}"),
            Self::Long { message } => write!(f, "invalid {message} message: bytes come after its last field"),
            Self::Wrong { message, field, value } => write!(f, "invalid {message} message: {value} is no {field}"),
        }
    }
}

/// Checks the body of a message: what comes after its type and its length.
pub(crate) fn check(kind: u8, body: &[u8]) -> Result<(), Problem> {
    let mut fields = Fields { message: name(kind)?, left: body };
    match kind {
        b'B' => fields.bind()?,
        b'C' | b'D' => {
            let [target] = fields.array("target")?;
            if !b"SP".contains(&target) {
                return Err(fields.wrong("target", target.into()));
            }
            fields.text("name")?;
        }
        b'E' => {
            fields.text("portal")?;
            fields.array::<4>("number of rows")?;
        }
        b'P' => {
            fields.text("name")?;
            fields.text("statement")?;
            let types = fields.count("number of types")?;
            fields.bytes(4 * usize::from(types), "types")?;
        }
        b'Q' | b'f' | b'p' => {
            fields.text("text")?;
        }
        b'd' => return Ok(()),
        _ => {}
    }
    fields.end()
}

/// Checks the body of the first message of a client, which has no type.
pub(crate) fn check_first(body: &[u8]) -> Result<(), Problem> {
    let mut fields = Fields { message: "Startup", left: body };
    let version = u32::from_be_bytes(fields.array("version")?);
    // Of others `pgwire` reads no more than a number, which ends it or cancels a statement.
    if version >> 16 != 3 {
        return Ok(());
    }
    while !fields.text("parameters")?.is_empty() {
        fields.text("parameters")?;
    }
    fields.end()
}

/// The message of this type.
pub(super) fn name(kind: u8) -> Result<&'static str, Problem> {
    Ok(match kind {
        b'B' => "Bind",
        b'C' => "Close",
        b'D' => "Describe",
        b'E' => "Execute",
        b'H' => "Flush",
        b'P' => "Parse",
        b'Q' => "Query",
        b'S' => "Sync",
        b'X' => "Terminate",
        b'c' => "CopyDone",
        b'd' => "CopyData",
        b'f' => "CopyFail",
        b'p' => "Password",
        _ => return Err(Problem::Unknown { kind }),
    })
}

/// The fields of a message that are not read yet.
struct Fields<'a> {
    message: &'static str,
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    fn bind(&mut self) -> Result<(), Problem> {
        self.text("portal")?;
        self.text("statement")?;
        let formats = self.formats("formats of values")?;
        let values = self.count("number of values")?;
        // One is that of all.
        if formats > 1 && formats != values {
            return Err(self.wrong("number of formats of its values", formats.into()));
        }
        for _ in 0..values {
            match i32::from_be_bytes(self.array("length of a value")?) {
                // NULL.
                -1 => {}
                length => {
                    let bytes = usize::try_from(length).map_err(|_| self.wrong("length of a value", length))?;
                    self.bytes(bytes, "values")?;
                }
            }
        }
        self.formats("formats of columns").map(drop)
    }

    /// Codes of formats, with their number before them: how many there are.
    fn formats(&mut self, field: &'static str) -> Result<u16, Problem> {
        let count = self.count(field)?;
        for _ in 0..count {
            let code = i16::from_be_bytes(self.array(field)?);
            if !matches!(code, 0 | 1) {
                return Err(self.wrong("code of a format", code.into()));
            }
        }
        Ok(count)
    }

    fn count(&mut self, field: &'static str) -> Result<u16, Problem> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// A text, without the zero behind it.
    fn text(&mut self, field: &'static str) -> Result<&'a [u8], Problem> {
        let end = self.left.iter().position(|byte| *byte == 0).ok_or(self.short(field))?;
        let text = self.bytes(end, field)?;
        self.bytes(1, field)?;
        Ok(text)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Problem> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(self.short(field))?;
        self.left = left;
        Ok(*bytes)
    }

    fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Problem> {
        let (bytes, left) = self.left.split_at_checked(count).ok_or(self.short(field))?;
        self.left = left;
        Ok(bytes)
    }

    fn end(&self) -> Result<(), Problem> {
        if self.left.is_empty() { Ok(()) } else { Err(Problem::Long { message: self.message }) }
    }

    fn short(&self, field: &'static str) -> Problem {
        Problem::Short { message: self.message, field }
    }

    fn wrong(&self, field: &'static str, value: i32) -> Problem {
        Problem::Wrong { message: self.message, field, value }
    }
}

#[cfg(test)]
mod tests;
