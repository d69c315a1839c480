//! Ids, kept in little memory: a canonical UUID as its 16 bytes, anything else as it is.

/// An id that is kept.
#[derive(Clone, Debug)]
pub(super) enum Id {
    Uuid([u8; 16]),
    Text(Box<[u8]>),
}

/// An id not yet kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IdRef<'a> {
    Uuid([u8; 16]),
    Text(&'a [u8]),
}

impl<'a> IdRef<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        canonical_uuid(text).map_or(Self::Text(text), Self::Uuid)
    }

    pub(super) fn is(&self, id: &Id) -> bool {
        match (self, id) {
            (Self::Uuid(one), Id::Uuid(other)) => one == other,
            (Self::Text(one), Id::Text(other)) => *one == other.as_ref(),
            _ => false,
        }
    }

    pub(super) fn keep(&self) -> Id {
        match self {
            Self::Uuid(bytes) => Id::Uuid(*bytes),
            Self::Text(text) => Id::Text((*text).into()),
        }
    }
}

impl Id {
    pub(super) fn as_ref(&self) -> IdRef<'_> {
        match self {
            Self::Uuid(bytes) => IdRef::Uuid(*bytes),
            Self::Text(text) => IdRef::Text(text),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Uuid(_) => 0,
            Self::Text(text) => text.len(),
        }
    }
}

/// One that takes no memory of its own.
impl Default for Id {
    fn default() -> Self {
        Self::Uuid([0; 16])
    }
}

/// Where the bytes of a UUID begin in its text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// The value of each byte as a lower-case hexadecimal digit; above 15 if it is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// The 16 bytes of a UUID that is written the canonical way (RFC 9562: lower case, four dashes), else `None`.
fn canonical_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let (mut bytes, mut seen) = ([0; 16], 0);
    for (byte, place) in bytes.iter_mut().zip(PLACES) {
        let (high, low) = (DIGITS[usize::from(text[place])], DIGITS[usize::from(text[place + 1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "bf428e1d-f221-55de-a77f-a61755a4d727";

    #[test]
    fn only_the_canonical_text_is_a_uuid() {
        assert_eq!(canonical_uuid(UUID.as_bytes()), Some(*uuid::Uuid::parse_str(UUID).unwrap().as_bytes()));
        for at in 0..36 {
            for byte in (0..=255_u8).filter(|byte| *byte != UUID.as_bytes()[at]) {
                let mut text = UUID.as_bytes().to_vec();
                text[at] = byte;
                let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let is_dash = matches!(at, 8 | 13 | 18 | 23);
                assert_eq!(canonical_uuid(&text).is_some(), is_digit && !is_dash, "{byte} at {at}");
            }
        }
        assert_eq!(canonical_uuid(&UUID.as_bytes()[..35]), None);
        let both_digits = format!("zz{}", &UUID[2..]);
        assert_eq!(canonical_uuid(both_digits.as_bytes()), None, "two wrong digits do not make up for each other");
    }

    proptest! {
        #[test]
        fn uuids_are_read_as_the_library_reads_them(bytes in any::<[u8; 16]>()) {
            let text = uuid::Uuid::from_bytes(bytes).to_string();
            prop_assert_eq!(canonical_uuid(text.as_bytes()), Some(bytes));
        }
    }
}
